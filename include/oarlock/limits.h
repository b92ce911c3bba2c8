/* SPDX-License-Identifier: MIT
 * Every compile-time maximum, with its reason. Run-time limits are options (config.h). */
#ifndef OARLOCK_LIMITS_H
#define OARLOCK_LIMITS_H

/* Segments of one route. Deeper paths exist only under a {x:path}, which takes the rest as one. */
#define OAR_MAX_SEGMENTS 32
/* Path parameters of one route; bounds struct oar_match. */
#define OAR_MAX_PATH_PARAMS 16
/* Path and query parameters of one handler; bounds the argument vector on the stack. */
#define OAR_MAX_PARAMS 64
/* Routes of one application: handler indexes are 16 bits wide, with one value for "none". */
#define OAR_MAX_ROUTES 65000
/* Header fields of one request that the parser's table can hold; --max-fields is at most this. */
#define OAR_MAX_FIELDS 512
/* Pooled I/O and arena blocks; 16 KiB holds any usual head and 16 pipelined requests. The odd tail
 * keeps blocks from all mapping to the same cache sets. */
#define OAR_BLOCK_SIZE (16384 + 320)
/* Blocks that a thread keeps for reuse (4 MiB); more are given back to the allocator. */
#define OAR_BLOCK_KEEP 256
/* Most that --max-pipeline can be: struct oar_conn counts in a byte. */
#define OAR_MAX_PIPELINE 250
/* Bytes of a streamed body, in either direction, that wait in the worker before the side that makes
 * them has to wait: enough for a round of loopback at full rate, little beside a thread's stack. */
#define OAR_STREAM_WINDOW 65536
/* Bytes of a response that the kernel takes for a TCP client beyond what is on its way to it
 * (TCP_NOTSENT_LOWAT). 64 clients that take 1 MiB each cost 11 % more CPU with 128 KiB, 5 % with 256,
 * and no more than without a limit with 512. */
#define OAR_UNSENT_MOST (8 * OAR_STREAM_WINDOW)
/* One acquisition of the interpreter serves at most this many requests or microseconds. */
#define OAR_BATCH_REQUESTS 64
#define OAR_BATCH_USEC 200
/* Threads of --pool-threads auto, at most: what Starlette gives a process. */
#define OAR_POOL_AUTO 40
/* Slots of the scoreboard: workers x threads. */
#define OAR_MAX_WORKERS 512
#define OAR_MAX_THREADS 256
#define OAR_MAX_SLOTS 4096
/* Listening sockets of one master. */
#define OAR_MAX_LISTENERS 16
/* A manifest beyond this is a mistake of the application, not a big one: 65,000 routes take 30 MB.
 */
#define OAR_MAX_MANIFEST (64u << 20)

#endif

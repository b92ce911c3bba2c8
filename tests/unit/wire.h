/* SPDX-License-Identifier: MIT
 * The real connection code on a wire without a kernel: sockets, the clock and libev's waiting are
 * played by wire.c (the linker's --wrap puts it in between), the application by wire_app.c. What
 * happens follows from a seed alone, a second costs nothing, and "nothing more can happen" is a
 * fact instead of a timeout. */
#ifndef OARLOCK_WIRE_H
#define OARLOCK_WIRE_H

#include "oarlock/config.h"
#include "worker/conn.h"
#include "worker/exchange.h"

#define WIRE_FD 100000 /* descriptors from here on are wires */
enum { WIRES = 16, WIRE_PATTERN = 160000 };

/* A client's connection, seen from the kernel. The test sets what the client does. */
struct wire {
    ev_io *io;         /* the server's watcher while it is active */
    const char *bytes; /* what the client sends: borrowed */
    size_t arrived;    /* of `bytes`: in the server's socket, or read already */
    size_t taken;      /* of `bytes`: read by the server */
    bool fin;          /* the client sends no more */
    bool reset;        /* the client has gone without a word */
    bool open, shut;   /* the server has a descriptor; the server sends no more */
    bool cut; /* the server closed with a reset, or with bytes unread: the client lost data */
    struct oar_buf got;
    size_t room;                    /* bytes that the socket takes from the server now */
    unsigned most_read, most_write; /* of one call, at random up to this; 0: no limit */
    unsigned reads;                 /* calls of recv */
};
extern struct wire wires[WIRES];

/* The seeded choice of everything: 0 to n - 1. */
extern uint64_t wire_seed;
unsigned wire_pick(unsigned n);

extern double wire_clock;      /* seconds, CLOCK_MONOTONIC */
extern double wire_wall;       /* seconds, CLOCK_REALTIME, beside it */
extern unsigned wire_progress; /* counts whatever moves: bytes, closes, answers */
extern unsigned wire_events;   /* callbacks that the loop has run */
extern char wire_pattern[WIRE_PATTERN];

/* The server's thread, with the options that `config` has. */
extern struct oar_thread wire_thread;
extern struct oar_worker wire_worker;
extern struct oar_config wire_config;
void wire_setup(void); /* once: options, routes, scoreboard */
void wire_begin(void); /* a thread without connections */
void wire_end(void);   /* and its end, whatever is open */
/* A client connects: the index of its wire. */
int wire_connect(void);
/* One round of the server's loop; true: something moved. */
bool wire_round(void);

/* wire_app.c: handlers whose targets say what they do. */
extern const struct oar_app wire_app;
extern bool wire_app_may_hold;
const void *wire_routes(void);
/* A handler that waits goes on a step; true: something moved. */
bool wire_app_step(void);
unsigned wire_app_waiting(void);
void wire_app_forget(void);
/* Target's numbers: what the handler answers to and with. */
struct wire_ask {
    unsigned id, from, len, answer, mode;
};
enum {
    WIRE_LATER = 1,     /* answers when wire_app_step says so */
    WIRE_STREAMS = 2,   /* its response comes in pieces */
    WIRE_ELSEWHERE = 4, /* answers as the pool does */
    WIRE_IMPATIENT = 8, /* answers before it has read a streamed body */
    /* with wire_app_may_hold, so that a spoilt target cannot ask for it: */
    WIRE_STALLS = 32, /* stays for a minute on the loop's thread */
    WIRE_HOLDS = 16,  /* never answers by itself: wire_app_answer */
};
void wire_target(struct oar_buf *out, const char *path, const struct wire_ask *ask);
/* The body that answers it. */
void wire_answer(struct oar_buf *out, unsigned id, unsigned answer, bool ok);
/* A WIRE_HOLDS handler answers now, or is asked whether its client is there. */
bool wire_app_answer(unsigned id);
struct oar_exchange *wire_app_exchange(unsigned id);

#endif

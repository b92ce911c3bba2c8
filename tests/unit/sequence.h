/* SPDX-License-Identifier: MIT
 * A sequence: the requests of one connection, how they are cut, and how its client ends. Plain
 * data, so that a failing one can be made smaller. */
#ifndef OARLOCK_SEQUENCE_H
#define OARLOCK_SEQUENCE_H

#include "tests/unit/wire.h"

enum { MOST_REQUESTS = 24, MOST_BODY = 70000, CLIENTS = 2 };

enum kind { HELLO, HEAD, MISS, ECHO, STREAM, KINDS };
enum framing { BY_LENGTH, BY_CHUNKS };
/* How the client ends. */
enum ending {
    STAYS,  /* sends FIN when it has all answers */
    HALF,   /* sends FIN behind its last byte, and reads on */
    BREAKS, /* sends FIN somewhere in the middle */
    DIES,   /* resets the connection somewhere in the middle */
    ENDINGS
};

struct asked {
    uint8_t kind, framing, mode;
    bool expects; /* Expect: 100-continue, and waits for it */
    bool closes;  /* Connection: close */
    bool old;     /* HTTP/1.0 with keep-alive */
    uint16_t padding, chunk;
    uint32_t from, len, answer;
};

struct sequence {
    unsigned n;
    struct asked at[MOST_REQUESTS];
    uint8_t tail; /* bytes behind the requests that are none: index into `tails`; 0: nothing */
    bool spoilt;  /* one byte is changed, anywhere: all that is promised is an end */
    uint8_t ending;
    unsigned segment, most_read, most_write, room; /* most bytes of each, 0: no limit */
};

/* What one client of a trial does, as bytes; gates: offsets at which it waits for 100 Continue. */
struct script {
    struct oar_buf bytes;
    size_t gates[MOST_REQUESTS];
    unsigned n_gates;
    unsigned answers; /* that must come */
    bool closes;      /* the server has to close behind them by itself */
    uint16_t refusal; /* status of the last answer, that of the tail; 0: there is none */
};

void sequence_draw(struct sequence *s);
void sequence_encode(const struct sequence *s, struct script *out);
void sequence_print(const struct sequence *s);
/* Compares what came with what must; NULL, or what is wrong. `complete`: all must be there. */
const char *sequence_check(const struct sequence *s, const struct script *script,
                           struct oar_slice got, bool complete, unsigned *answers);
/* Interim responses among them. */
unsigned sequence_continues(struct oar_slice got);

#endif

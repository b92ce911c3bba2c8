/* SPDX-License-Identifier: MIT
 * The control channel: what master and worker say to each other on their socket pair. Messages are
 * of one size and keep their bounds (SOCK_SEQPACKET); one of another version, or of a kind that the
 * reader does not know, is skipped. */
#ifndef OARLOCK_CONTROL_H
#define OARLOCK_CONTROL_H

#include "oarlock/err.h"

#define OAR_CONTROL_VERSION 1

enum oar_message_kind {
    /* worker to master */
    OAR_MSG_READY = 1, /* it serves */
    OAR_MSG_LEAVE,     /* it asks to be retired: somebody sent SIGTERM to it, or it wants to go */
    OAR_MSG_CLOSED,    /* it accepts no more, and has taken what the kernel had queued */
    /* master to worker */
    OAR_MSG_STOP, /* accept no more, finish what is there, exit 0 */
};

struct oar_message {
    uint8_t version; /* OAR_CONTROL_VERSION */
    uint8_t kind;    /* enum oar_message_kind */
    uint16_t zero;
    uint32_t value; /* none of today's kinds has one */
};
_Static_assert(sizeof(struct oar_message) == 8, "format");

/* Both ends are close-on-exec and do not block. */
enum oar_status oar_control_pair(int pair[2], struct oar_err *err);
/* OAR_AGAIN: there is no room; OAR_CLOSED: nobody is at the other end. */
enum oar_status oar_control_send(int fd, enum oar_message_kind kind, uint32_t value);
/* OAR_OK: `kind` and `value` are set; OAR_AGAIN: nothing more has come; OAR_CLOSED: the other end
 * is closed. */
enum oar_status oar_control_take(int fd, enum oar_message_kind *kind, uint32_t *value);

#endif

/* SPDX-License-Identifier: MIT
 * Sends and takes messages of the control channel.
 * Process: master and worker (its watchdog). Owns nothing. Never blocks; trusts no message. */
#include "oarlock/control.h"

#include <errno.h>
#include <sys/socket.h>

enum oar_status oar_control_pair(int pair[2], struct oar_err *err)
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
        return oar_err_set(err, "cannot make a control socket: %s", strerror(errno));
    }
    return OAR_OK;
}

enum oar_status oar_control_send(int fd, enum oar_message_kind kind, uint32_t value)
{
    struct oar_message m = {OAR_CONTROL_VERSION, (uint8_t)kind, 0, value};
    ssize_t n = -1;
    do {
        n = send(fd, &m, sizeof m, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno == EAGAIN ? OAR_AGAIN : OAR_CLOSED;
    }
    return OAR_OK;
}

enum oar_status oar_control_take(int fd, enum oar_message_kind *kind, uint32_t *value)
{
    struct oar_message m;
    for (;;) {
        ssize_t n = recv(fd, &m, sizeof m, MSG_TRUNC);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 && errno == EAGAIN ? OAR_AGAIN : OAR_CLOSED;
        }
        if (n == sizeof m && m.version == OAR_CONTROL_VERSION && m.kind >= OAR_MSG_READY &&
            m.kind <= OAR_MSG_STOP) {
            *kind = (enum oar_message_kind)m.kind;
            *value = m.value;
            return OAR_OK;
        }
    }
}

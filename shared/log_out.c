/* SPDX-License-Identifier: MIT
 * Where log lines go: standard error, written without waiting for its reader.
 * Process: all; any thread. Owns a description of standard error of its own where one can be had,
 * because O_NONBLOCK on the inherited one would be switched on for everybody who shares it. Never
 * waits for longer than PATIENCE_MS in a second, for all threads together; never allocates. */
#include "shared/log_out.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "oarlock/base.h"
#include "shared/clock.h"

#define PATIENCE_MS 20
#define SECOND_NS 1000000000u
_Static_assert(OAR_LOG_BLOCK <= PIPE_BUF, "a block leaves whole");

static struct {
    enum { UNSET, FILE_LIKE, OWN, SOCKET, SHARED } kind;
    int fd;
} sink = {UNSET, STDERR_FILENO};
static _Atomic bool torn;            /* the last line left in part */
static _Atomic uint64_t patience_of; /* the second in which ... */
static _Atomic uint32_t patience_ms; /* ... this long was waited for the reader */

/* A pipe and a terminal can be opened again, which makes a description that is ours alone. Where
 * that is forbidden (a pipe of another user's), each write asks the kernel not to wait. */
void oar_log_out_open(void)
{
    struct stat st;
    if (sink.kind != UNSET) {
        return; /* once: children inherit it */
    }
    bool known = fstat(STDERR_FILENO, &st) == 0;
    sink.fd = STDERR_FILENO;
    sink.kind = FILE_LIKE; /* a file, /dev/null: no reader to wait for */
    if (known && S_ISSOCK(st.st_mode)) {
        sink.kind = SOCKET;
    } else if (known && (S_ISFIFO(st.st_mode) || isatty(STDERR_FILENO))) {
        int fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        sink.kind = fd < 0 ? SHARED : OWN;
        sink.fd = fd < 0 ? STDERR_FILENO : fd;
    }
}

static ssize_t write_now(const char *bytes, size_t len)
{
    struct iovec part = {(void *)bytes, len};
    struct pollfd room = {.fd = sink.fd, .events = POLLOUT};
    ssize_t n = -1;
    switch (sink.kind) {
    case SOCKET: return send(sink.fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    case SHARED:
        n = pwritev2(sink.fd, &part, 1, -1, RWF_NOWAIT);
        if (n >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)) {
            return n;
        }
        if (poll(&room, 1, 0) != 1) { /* Linux before 6.5: another process may be quicker */
            errno = EAGAIN;
            return -1;
        }
        break;
    default: break;
    }
    return write(sink.fd, bytes, len);
}

/* A reader that is merely slow is waited for, up to PATIENCE_MS in a second for all threads. */
static bool wait_for_room(void)
{
    struct pollfd room = {.fd = sink.fd, .events = POLLOUT};
    uint64_t second = oar_now_ns() / SECOND_NS;
    if (atomic_exchange(&patience_of, second) != second) {
        atomic_store(&patience_ms, 0);
    }
    uint32_t waited = atomic_load(&patience_ms);
    if (waited >= PATIENCE_MS) {
        return false;
    }
    uint64_t began = oar_now_ns();
    int ready = poll(&room, 1, (int)(PATIENCE_MS - waited));
    atomic_fetch_add(&patience_ms, (uint32_t)((oar_now_ns() - began) / 1000000u) + 1);
    return ready == 1;
}

bool oar_log_out_put(const char *bytes, size_t len)
{
    size_t done = 0;
    if (atomic_exchange(&torn, false)) {
        (void)!write_now("\n", 1);
    }
    while (done < len) {
        ssize_t n = write_now(bytes + done, len - done);
        if (n > 0) {
            done += (size_t)n;
        } else if (n == 0 || (errno != EINTR && (errno != EAGAIN || !wait_for_room()))) {
            break;
        }
    }
    if (done > 0 && done < len) {
        atomic_store(&torn, true);
    }
    return done == len;
}

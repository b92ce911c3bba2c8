/* SPDX-License-Identifier: MIT
 * What a process lets go of that the application forks from a worker (os.fork, multiprocessing):
 * else a stopped server's port would stay open, and its clients would never see a connection's end.
 * Process: a forked child, between fork and its first own instruction. Owns nothing. Asks the kernel
 * which descriptors are the server's and reads no list of the worker's: another thread may have been
 * changing it, and other memory of its with it, while it was copied. Allocates nothing. Programs
 * that are executed need none of this: every descriptor of ours is close-on-exec. */
#include "worker/forked.h"

#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <netinet/in.h>

#include "worker/signals.h"

#define MOST_OWN 4

struct name {
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
        struct sockaddr_storage storage;
    };
    socklen_t len;
};

static struct {
    struct oar_worker *worker;
    struct name listeners[OAR_MAX_LISTENERS];
    int n_listeners;
    int own[MOST_OWN], n_own;
} watched;

static bool name_of(int fd, struct name *out)
{
    out->len = sizeof out->storage;
    return getsockname(fd, &out->any, &out->len) == 0;
}

/* An accepted socket has the name of the listening one, with the address that the client used. */
static bool same_name(const struct name *listening, const struct name *n)
{
    if (n->any.sa_family != listening->any.sa_family) {
        return false;
    }
    if (n->any.sa_family == AF_INET) {
        in_addr_t at = listening->in.sin_addr.s_addr;
        return n->in.sin_port == listening->in.sin_port &&
               (at == htonl(INADDR_ANY) || at == n->in.sin_addr.s_addr);
    }
    if (n->any.sa_family == AF_INET6) {
        const struct in6_addr *at = &listening->in6.sin6_addr;
        return n->in6.sin6_port == listening->in6.sin6_port &&
               (memcmp(at, &in6addr_any, sizeof *at) == 0 ||
                memcmp(at, &n->in6.sin6_addr, sizeof *at) == 0);
    }
    return n->len == listening->len && n->len > offsetof(struct sockaddr_un, sun_path) &&
           memcmp(&n->un, &listening->un, n->len) == 0;
}

static void let_go_of(int fd)
{
    struct name n;
    int type = 0;
    socklen_t len = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0 || type != SOCK_STREAM ||
        !name_of(fd, &n)) {
        return;
    }
    for (int i = 0; i < watched.n_listeners; i++) {
        if (same_name(&watched.listeners[i], &n)) {
            close(fd);
            break;
        }
    }
}

/* The names in /proc/self/fd, by the system call: readdir() would allocate. */
static bool each_descriptor(void (*visit)(int fd))
{
    struct entry { /* struct linux_dirent64 */
        uint64_t ino;
        int64_t off;
        unsigned short len;
        unsigned char type;
        char name[];
    };
    _Alignas(struct entry) char bytes[4096];
    int folder = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        return false;
    }
    for (long n; (n = syscall(SYS_getdents64, folder, bytes, sizeof bytes)) > 0;) {
        for (long at = 0; at < n;) {
            const struct entry *e = (const void *)(bytes + at);
            int fd = *e->name >= '0' && *e->name <= '9' ? atoi(e->name) : -1;
            if (fd > STDERR_FILENO && fd != folder) {
                visit(fd);
            }
            at += e->len;
        }
    }
    close(folder);
    return true;
}

static void in_child(void)
{
    const int MOST = 65536; /* without /proc */
    oar_signals_forget();
    for (int i = 0; i < watched.n_own; i++) {
        close(watched.own[i]);
    }
    watched.n_own = 0;
    if (!each_descriptor(let_go_of)) {
        for (int fd = STDERR_FILENO + 1; fd < MOST; fd++) {
            let_go_of(fd);
        }
    }
    watched.n_listeners = 0; /* its own children have nothing more to let go of */
    watched.worker->draining = OAR_FORKED;
}

void oar_forked_watch(struct oar_worker *w, const int *own, int n_own)
{
    watched.worker = w;
    for (int i = 0; i < w->n_listeners; i++) {
        watched.n_listeners += name_of(w->listeners[i], &watched.listeners[watched.n_listeners]);
    }
    for (int i = 0; i < n_own && i < MOST_OWN; i++) {
        watched.own[watched.n_own++] = own[i];
    }
    pthread_atfork(NULL, NULL, in_child);
}

void oar_forked_end(void)
{
    oar_log(OAR_LOG_ERROR,
            "a process that the application has forked came back from its handler, or from the "
            "import, and would do its parent's work again; it ends. End such a process with "
            "os._exit()");
    oar_log_settle();
    _exit(1);
}

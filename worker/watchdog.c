/* SPDX-License-Identifier: MIT
 * The watchdog: waits for the master's word and for the master's death.
 * Process: worker, a thread of its own that never attaches to the interpreter, so it works while
 * every other thread is stuck in Python. Owns the control socket and the death pipe's end. Never
 * allocates after its start; leaves with _exit when the master is gone, because a clean end may
 * never come. */
#include "worker/watchdog.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static struct oar_worker *worker;
static int control_fd, death_fd;
static pthread_t thread;
static bool started;
#define TICK_MS 250
/* Words of this process to its watchdog: */
#define WORD_TERM '\0' /* SIGTERM to this process alone: a fallback for the control socket */
#define WORD_QUIT 'Q'  /* the threads are about to be freed */
static int own_pipe[2] = {-1, -1};

static void begin_drain(void)
{
    worker->draining = 1;
    for (int i = 0; i < worker->n_threads; i++) {
        oar_thread_wake(&worker->threads[i]);
    }
}

static void on_term(int signal_number)
{
    int saved = errno;
    ssize_t n = write(own_pipe[1], &(char){WORD_TERM}, 1);
    (void)n, (void)signal_number;
    errno = saved;
}

static void *watch(void *unused)
{
    struct pollfd fds[] = {{.fd = control_fd, .events = POLLIN},
                           {.fd = death_fd, .events = POLLIN},
                           {.fd = own_pipe[0], .events = POLLIN}};
    char message = WORD_TERM;
    (void)unused;
    for (;;) {
        if (poll(fds, OAR_ARRAY_LEN(fds), TICK_MS) < 0 && errno != EINTR) {
            _exit(OAR_EXIT_ORPHAN);
        }
        oar_log_settle();
        if (fds[1].revents) {
            oar_log(OAR_LOG_ERROR, "the master is gone; this worker leaves too");
            _exit(OAR_EXIT_ORPHAN);
        }
        if ((fds[0].revents && read(control_fd, &message, 1) == 1 && message == OAR_MSG_STOP) ||
            (fds[2].revents && read(own_pipe[0], &message, 1) == 1)) {
            if (message == WORD_QUIT) {
                break;
            }
            begin_drain();
        }
        fds[0].fd = fds[0].revents & POLLHUP ? -1 : fds[0].fd;
        fds[0].revents = fds[2].revents = 0;
    }
    return NULL;
}

enum oar_status oar_watchdog_start(struct oar_worker *w, const struct oar_worker_args *args,
                                   struct oar_err *err)
{
    struct sigaction action = {.sa_handler = on_term, .sa_flags = SA_RESTART};
    pthread_attr_t attr;
    sigset_t all, before;
    worker = w;
    control_fd = args->control_fd;
    death_fd = args->death_fd;
    if (pipe(own_pipe) != 0) {
        return oar_err_set(err, "cannot make a pipe: %s", strerror(errno));
    }
    sigaction(SIGTERM, &action, NULL);
    /* Signals belong to the main thread: Python's handlers run there. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 128 * 1024);
    int rc = pthread_create(&thread, &attr, watch, NULL);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    started = rc == 0;
    return started ? OAR_OK : oar_err_set(err, "cannot start the watchdog: %s", strerror(rc));
}

void oar_watchdog_stop(void)
{
    if (started && write(own_pipe[1], &(char){WORD_QUIT}, 1) == 1) {
        pthread_join(thread, NULL);
        started = false;
    }
}

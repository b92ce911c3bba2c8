/* SPDX-License-Identifier: MIT
 * Forks workers and prepares the child's side: process group, signals, descriptors.
 * Process: master; between fork and the entry also the child. Owns the control sockets.
 * Never runs Python; the child leaves with _exit, so nothing of the master's is flushed twice. */
#include "master/children.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oarlock/control.h"
#include "oarlock/log.h"

enum oar_status oar_death_pipe(struct oar_spawn *s, struct oar_err *err)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) {
        return oar_err_set(err, "cannot make a pipe: %s", strerror(errno));
    }
    s->death_read = fds[0];
    s->death_write = fds[1];
    return OAR_OK;
}

static void default_signals(void)
{
    static const int all[] = {SIGTERM, SIGINT,  SIGHUP,  SIGCHLD, SIGQUIT,
                              SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU};
    sigset_t none;
    for (size_t i = 0; i < OAR_ARRAY_LEN(all); i++) {
        signal(all[i], SIG_DFL);
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

pid_t oar_child_fork(const char *name, uint32_t index)
{
    char title[32];
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0); /* a terminal's Ctrl-C is the master's business */
        if (strcmp(name, "worker") != 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL); /* workers watch the death pipe, and say so */
        }
        default_signals();
        snprintf(title, sizeof title, "oarlock-%s", name);
        prctl(PR_SET_NAME, title);
        snprintf(title, sizeof title, strcmp(name, "worker") == 0 ? "%s %u" : "%s", name, index);
        oar_log_init(title, oar_log_level_now());
    } else if (pid > 0) {
        setpgid(pid, pid); /* whichever runs first */
    }
    return pid;
}

enum oar_status oar_child_spawn(const struct oar_spawn *s, uint32_t index, uint32_t generation,
                                struct oar_child *out, struct oar_err *err)
{
    int pair[2];
    if (oar_control_pair(pair, err) != OAR_OK) {
        return OAR_ERR;
    }
    for (uint32_t t = 0; t < s->n_threads; t++) {
        struct oar_slot *slot = oar_shm_slot(s->shm, index * s->n_threads + t);
        memset((void *)slot, 0, sizeof *slot);
        OAR_SET(slot->generation, generation);
        OAR_SET(slot->state, OAR_SLOT_STARTING);
    }
    pid_t pid = oar_child_fork("worker", index);
    if (pid < 0) {
        int error = errno;
        close(pair[0]);
        close(pair[1]);
        oar_child_clear_slots(s, index);
        return oar_err_set(err, "cannot fork worker %u: %s", index, strerror(error));
    }
    if (pid == 0) {
        close(pair[0]);
        close(s->death_write);
        s->in_child(s->data);
        struct oar_worker_args args = {.config = s->config,
                                       .shm = s->shm,
                                       .n_workers = s->n_workers,
                                       .n_threads = s->n_threads,
                                       .routes = s->routes,
                                       .listeners = s->listeners,
                                       .n_listeners = s->n_listeners,
                                       .index = index,
                                       .control_fd = pair[1],
                                       .death_fd = s->death_read};
        _exit(s->entry(&args));
    }
    close(pair[1]);
    for (uint32_t t = 0; t < s->n_threads; t++) {
        OAR_SET(oar_shm_slot(s->shm, index * s->n_threads + t)->pid, (int32_t)pid);
    }
    *out = (struct oar_child){.pid = pid, .control_fd = pair[0]};
    return OAR_OK;
}

void oar_child_clear_slots(const struct oar_spawn *s, uint32_t index)
{
    for (uint32_t t = 0; t < s->n_threads; t++) { /* siblings' fair share must not count the dead */
        struct oar_slot *slot = oar_shm_slot(s->shm, index * s->n_threads + t);
        OAR_SET(slot->state, OAR_SLOT_EMPTY);
        OAR_SET(slot->connections, 0);
        OAR_SET(slot->pid, 0);
    }
}

void oar_child_describe(int status, bool killed, char *out, size_t room)
{
    if (killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
        snprintf(out, room, "was killed by this master");
    } else if (WIFSIGNALED(status)) {
        snprintf(out, room, "was killed by signal %d (%s)%s", WTERMSIG(status),
                 strsignal(WTERMSIG(status)),
                 WTERMSIG(status) == SIGKILL
                     ? "; if nobody did that, the kernel may be out of memory"
                     : "");
    } else if (WEXITSTATUS(status) == OAR_EXIT_CHANGED) {
        snprintf(out, room,
                 "left because the application's files have changed since the server started");
    } else {
        snprintf(out, room, "exited with status %d", WEXITSTATUS(status));
    }
}

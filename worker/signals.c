/* SPDX-License-Identifier: MIT
 * Signal handlers of a worker. A service manager sends its signals to every process of the service
 * (systemd: KillMode=control-group, `systemctl kill`); only the master acts on them.
 * Process: worker. Owns nothing. The handlers call nothing that is not async-signal-safe, and stay
 * handlers rather than SIG_IGN, which the programs that a worker executes would inherit. A process
 * that shares the handler and is not the worker, because the application made it with vfork or
 * clone, gets the default action. */
#include "worker/signals.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "oarlock/base.h"

static const int masters[] = {SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
static int told;
static char told_word;
static pid_t own;

static void act_as_default(int number)
{
    signal(number, SIG_DFL);
    raise(number); /* is delivered when the handler returns: it is blocked until then */
}

static void on_term(int number)
{
    int saved = errno;
    if (getpid() != own) {
        act_as_default(number);
    } else {
        ssize_t n = write(told, &told_word, 1);
        (void)n;
    }
    errno = saved;
}

static void on_masters(int number)
{
    int saved = errno;
    if (getpid() != own) {
        act_as_default(number);
    }
    errno = saved;
}

void oar_signals_install(int fd, char word)
{
    struct sigaction action = {.sa_handler = on_term, .sa_flags = SA_RESTART};
    told = fd;
    told_word = word;
    own = getpid();
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = on_masters;
    for (size_t i = 0; i < OAR_ARRAY_LEN(masters); i++) {
        sigaction(masters[i], &action, NULL);
    }
    signal(SIGTTIN, SIG_IGN);
    signal(SIGTTOU, SIG_IGN);
}

static void forget(int number, void (*handler)(int))
{
    struct sigaction now;
    if (sigaction(number, NULL, &now) == 0 && now.sa_handler == handler) {
        signal(number, SIG_DFL);
    }
}

void oar_signals_forget(void)
{
    forget(SIGTERM, on_term);
    for (size_t i = 0; i < OAR_ARRAY_LEN(masters); i++) {
        forget(masters[i], on_masters);
    }
    forget(SIGTTIN, SIG_IGN);
    forget(SIGTTOU, SIG_IGN);
}

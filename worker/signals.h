/* SPDX-License-Identifier: MIT
 * What signals do in a worker. Private to the process's life (worker.c, watchdog.c, forked.c). */
#ifndef OARLOCK_SIGNALS_H
#define OARLOCK_SIGNALS_H

/* SIGTERM writes `word` to `fd`. SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2, which are the master's, do
 * nothing; the terminal's SIGTTIN and SIGTTOU are ignored. An application may take any of them. */
void oar_signals_install(int fd, char word);
/* In a process that was forked from this one: what is still ours does what it does in any. */
void oar_signals_forget(void);

#endif

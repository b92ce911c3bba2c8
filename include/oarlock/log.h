/* SPDX-License-Identifier: MIT
 * The log: lines to standard error that never stop the process that writes them. Format of a line,
 * what is left out and when lines are lost: docs/process-model.md, "The log". */
#ifndef OARLOCK_LOG_H
#define OARLOCK_LOG_H

#include "oarlock/base.h"

enum oar_log_level { OAR_LOG_DEBUG, OAR_LOG_INFO, OAR_LOG_WARNING, OAR_LOG_ERROR };

#define OAR_LOG_LINE_MAX 2048        /* bytes of a line; the middle of a longer one is left out */
#define OAR_LOG_TEXT_MAX (64 * 1024) /* bytes of a text of several lines; likewise */
#define OAR_LOG_TEXT_LINES 400       /* lines of such a text */
/* Warnings and errors of one place in the code within a second; texts of one stack. More are
 * counted, and the number is logged. */
#define OAR_LOG_LINES_A_SECOND 20
#define OAR_LOG_TEXTS_A_SECOND 10

/* Who speaks ("master", "worker 1"). The text is copied. Process-wide; set before threads start. */
void oar_log_init(const char *who, enum oar_log_level least);
enum oar_log_level oar_log_level_now(void);
/* One line. Any thread; no signal handler. */
void oar_log(enum oar_log_level level, const char *fmt, ...) OAR_PRINTF(2, 3);
/* Several lines (a traceback), each with the prefix; "|" in place of ":" marks those after the
 * first. */
void oar_log_text(enum oar_log_level level, struct oar_slice text);
/* Says how many lines were left out or lost since that was last said, if there is room to say so.
 * Called now and then, and before the process ends. */
void oar_log_settle(void);

#endif

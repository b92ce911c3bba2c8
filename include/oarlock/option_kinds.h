/* SPDX-License-Identifier: MIT
 * The kinds of value that a row of the option table (config.h) can have, and what each stores. */
#ifndef OARLOCK_OPTION_KINDS_H
#define OARLOCK_OPTION_KINDS_H

#include "oarlock/base.h"
#include "oarlock/limits.h"

/* Kinds of value: how the text is read and what is stored in struct oar_config.
 *   STR  const char *      text
 *   INT  int64_t           a whole number
 *   AUTO int64_t           a whole number, or "auto" (stored as 0)
 *   SIZE int64_t (bytes)   a number with an optional k, m or g (powers of 1024)
 *   TIME double (seconds)  a number with an optional ms, s, m or h
 *   FLAG bool              no value on the command line; 0/1/true/false/yes/no in the environment
 *   LIST struct oar_strings may be given several times; separated by commas in the environment */
struct oar_strings {
    int count;
    const char *at[OAR_MAX_LISTENERS];
};

#define OAR_CTYPE_STR const char *
#define OAR_CTYPE_INT int64_t
#define OAR_CTYPE_AUTO int64_t
#define OAR_CTYPE_SIZE int64_t
#define OAR_CTYPE_TIME double
#define OAR_CTYPE_FLAG bool
#define OAR_CTYPE_LIST struct oar_strings

#endif

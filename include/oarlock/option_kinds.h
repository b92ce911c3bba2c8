/* SPDX-License-Identifier: MIT
 * The kinds of value that a row of the option table (config.h) can have, and what each stores. */
#ifndef OARLOCK_OPTION_KINDS_H
#define OARLOCK_OPTION_KINDS_H

#include "oarlock/base.h"
#include "oarlock/limits.h"

/* Kinds of value: how the text is read and what is stored in struct oar_config.
 *   STR  const char *      text
 *   CHOICE int             one of its words: the place of the word, an enum that the row makes
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
#define OAR_CTYPE_CHOICE int
#define OAR_CTYPE_INT int64_t
#define OAR_CTYPE_AUTO int64_t
#define OAR_CTYPE_SIZE int64_t
#define OAR_CTYPE_TIME double
#define OAR_CTYPE_FLAG bool
#define OAR_CTYPE_LIST struct oar_strings

/* The words of a CHOICE: (how many, PREFIX, NAME, "word", NAME, "word"...). */
#define OAR_NAMES_2(P, a, ta, b, tb) P##_##a, P##_##b
#define OAR_NAMES_3(P, a, ta, b, tb, c, tc) OAR_NAMES_2(P, a, ta, b, tb), P##_##c
#define OAR_NAMES_4(P, a, ta, b, tb, c, tc, d, td) OAR_NAMES_3(P, a, ta, b, tb, c, tc), P##_##d
#define OAR_NAMES_OF(n, ...) OAR_NAMES_##n(__VA_ARGS__)
#define OAR_WORDS_2(P, a, ta, b, tb) ta "|" tb
#define OAR_WORDS_3(P, a, ta, b, tb, c, tc) ta "|" tb "|" tc
#define OAR_WORDS_4(P, a, ta, b, tb, c, tc, d, td) ta "|" tb "|" tc "|" td
#define OAR_WORDS_OF(n, ...) OAR_WORDS_##n(__VA_ARGS__)

/* What a row makes of its words: an enum; what --help shows. */
#define OAR_ENUM_CHOICE(field, words) enum oar_##field##_choice{OAR_NAMES_OF words};
#define OAR_ENUM_STR(field, metavar)
#define OAR_ENUM_INT(field, metavar)
#define OAR_ENUM_AUTO(field, metavar)
#define OAR_ENUM_SIZE(field, metavar)
#define OAR_ENUM_TIME(field, metavar)
#define OAR_ENUM_FLAG(field, metavar)
#define OAR_ENUM_LIST(field, metavar)
#define OAR_METAVAR_CHOICE(words) OAR_WORDS_OF words
#define OAR_METAVAR_STR(metavar) metavar
#define OAR_METAVAR_INT(metavar) metavar
#define OAR_METAVAR_AUTO(metavar) metavar
#define OAR_METAVAR_SIZE(metavar) metavar
#define OAR_METAVAR_TIME(metavar) metavar
#define OAR_METAVAR_FLAG(metavar) metavar
#define OAR_METAVAR_LIST(metavar) metavar

#endif

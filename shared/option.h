/* SPDX-License-Identifier: MIT
 * The option table as data, for the parser, --help, docs/options.md and tests. */
#ifndef OARLOCK_OPTION_H
#define OARLOCK_OPTION_H

#include "oarlock/config.h"

enum oar_option_kind {
    OAR_OPT_STR,
    OAR_OPT_CHOICE,
    OAR_OPT_INT,
    OAR_OPT_AUTO,
    OAR_OPT_SIZE,
    OAR_OPT_TIME,
    OAR_OPT_FLAG,
    OAR_OPT_LIST,
};

struct oar_option {
    enum oar_option_kind kind;
    size_t offset; /* of the field in struct oar_config */
    const char *flag;
    const char *standard; /* the default, as text */
    double least, most;
    const char *metavar;
    const char *group;
    const char *help;
};

extern const struct oar_option oar_options[];
extern const size_t oar_options_count;

#define OAR_OPTION_NAME 64 /* room for any option's name, as flag and as variable */

/* "max-head" -> "OARLOCK_MAX_HEAD" */
void oar_option_env(const struct oar_option *o, char *name, size_t room);
/* The option that "OARLOCK_MAX_HEAD=16k" sets; NULL: none. */
const struct oar_option *oar_option_of_env(const char *variable);
/* The option whose name is most like a misspelt one; NULL: none is. */
const struct oar_option *oar_option_near(struct oar_slice flag);

#endif

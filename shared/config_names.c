/* SPDX-License-Identifier: MIT
 * Names of options: as variables of the environment, and which one a misspelt name was meant to be.
 * Process: master, before any fork. Owns nothing. Never knows an option by name. */
#include <ctype.h>
#include <stdio.h>

#include "shared/option.h"

enum { PREFIX = sizeof "OARLOCK_" - 1 };

void oar_option_env(const struct oar_option *o, char *name, size_t room)
{
    snprintf(name, room, "OARLOCK_%s", o->flag);
    for (char *p = name; *p; p++) {
        *p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
    }
}

const struct oar_option *oar_option_of_env(const char *variable)
{
    const struct oar_option *found = NULL;
    size_t len = strcspn(variable, "=");
    for (size_t i = 0; i < oar_options_count && !found && variable[len] == '='; i++) {
        char name[OAR_OPTION_NAME];
        oar_option_env(&oar_options[i], name, sizeof name);
        found = strlen(name) == len && memcmp(name, variable, len) == 0 ? &oar_options[i] : NULL;
    }
    return found;
}

/* Letters to change, add or take away until the one is the other (Levenshtein). */
static unsigned distance(struct oar_slice a, struct oar_slice b)
{
    unsigned row[OAR_OPTION_NAME + 1];
    for (unsigned j = 0; j <= b.len; j++) {
        row[j] = j;
    }
    for (unsigned i = 1; i <= a.len; i++) {
        unsigned corner = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= b.len; j++) {
            unsigned change = corner + (a.ptr[i - 1] != b.ptr[j - 1]);
            corner = row[j];
            row[j] = OAR_MIN(change, OAR_MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[b.len];
}

const struct oar_option *oar_option_near(struct oar_slice flag)
{
    const struct oar_option *best = NULL;
    unsigned least = OAR_MAX((unsigned)flag.len / 3, 1u) + 1; /* beyond: another word */
    for (size_t i = 0; i < oar_options_count && flag.len < OAR_OPTION_NAME; i++) {
        unsigned d = distance(flag, oar_slice_of(oar_options[i].flag));
        if (d < least) {
            least = d;
            best = &oar_options[i];
        }
    }
    for (size_t i = 0; i < oar_options_count && !best && flag.len > 3; i++) { /* a part of it */
        best = strncmp(oar_options[i].flag, flag.ptr, flag.len) == 0 ? &oar_options[i] : NULL;
    }
    return best;
}

/* Variables that are no options and no mistakes: of the build and the tests, and what Kubernetes
 * sets for a service that is called oarlock. */
static bool of_others(struct oar_slice name)
{
    static const char *const starts[] = {"CACHE", "TEST_", "COMPARE_", "SERVICE_", "PORT"};
    bool found = false;
    for (size_t i = 0; i < OAR_ARRAY_LEN(starts); i++) {
        size_t len = strlen(starts[i]);
        found = found || (name.len >= len && memcmp(name.ptr, starts[i], len) == 0);
    }
    return found;
}

bool oar_config_unknown(char **environ_, size_t *at, char *text, size_t room)
{
    for (; environ_[*at]; (*at)++) {
        const char *variable = environ_[*at];
        size_t len = strcspn(variable, "=");
        struct oar_slice name = {variable + PREFIX, len > PREFIX ? len - PREFIX : 0};
        if (strncmp(variable, "OARLOCK_", PREFIX) != 0 || oar_option_of_env(variable) ||
            of_others(name)) {
            continue;
        }
        char flag[OAR_OPTION_NAME] = "";
        char near[OAR_OPTION_NAME] = "";
        for (size_t i = 0; i < name.len && name.len < sizeof flag; i++) {
            flag[i] = name.ptr[i] == '_' ? '-' : (char)tolower((unsigned char)name.ptr[i]);
        }
        const struct oar_option *o = *flag ? oar_option_near(oar_slice_of(flag)) : NULL;
        if (o) {
            oar_option_env(o, near, sizeof near);
        }
        snprintf(text, room,
                 "the environment sets %.*s, which is no option%s%s; `oarlock --help` lists them",
                 (int)OAR_MIN(len, 100u), variable, o ? "; did you mean " : "", near);
        (*at)++;
        return true;
    }
    return false;
}

/* SPDX-License-Identifier: MIT
 * Reads the option table: defaults, then OARLOCK_* from the environment, then the command line.
 * Process: master, before any fork. Owns a copy of a list from the environment; other texts stay in
 * argv and environ, so there is one configuration in a process. Never exits;
 * every mistake is one sentence that names the option, the value and what would be right. */
#include "oarlock/config.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "shared/option.h"
#include "shared/peer.h"

const struct oar_option oar_options[] = {
#define OAR_ROW(kind_, field_, flag_, default_, least_, most_, metavar_, group_, help_) \
    {.kind = OAR_OPT_##kind_,                                                           \
     .offset = offsetof(struct oar_config, field_),                                     \
     .flag = flag_,                                                                     \
     .standard = default_,                                                              \
     .least = (double)(least_),                                                         \
     .most = (double)(most_),                                                           \
     .metavar = OAR_METAVAR_##kind_(metavar_),                                          \
     .group = group_,                                                                   \
     .help = help_},
    OAR_OPTIONS(OAR_ROW)
#undef OAR_ROW
};
const size_t oar_options_count = OAR_ARRAY_LEN(oar_options);

/* "10k", "1.5s", "250ms" -> number times unit; false when it is not that. */
static bool number(const char *text, enum oar_option_kind kind, double *value)
{
    char *end;
    errno = 0;
    if (!isdigit((unsigned char)text[0]) && text[0] != '-' && text[0] != '.') {
        return false; /* strtod would take "inf", "nan" and hexadecimal floats */
    }
    double n = kind == OAR_OPT_TIME ? strtod(text, &end) : (double)strtoll(text, &end, 10);
    double unit = 0;
    if (*end == '\0') {
        unit = 1;
    } else if (kind == OAR_OPT_SIZE && end[1] == '\0') {
        const char *at = strchr("kKmMgG", *end);
        unit = at ? (double)(1ll << (10 * ((at - "kKmMgG") / 2 + 1))) : 0;
    } else if (kind == OAR_OPT_TIME) {
        unit = !strcmp(end, "ms")  ? 0.001
               : !strcmp(end, "s") ? 1
               : !strcmp(end, "m") ? 60
               : !strcmp(end, "h") ? 3600
                                   : 0;
    }
    *value = n * unit;
    return end != text && errno == 0 && unit > 0 && isfinite(*value);
}

static enum oar_status set_number(const struct oar_option *o, const char *text, const char *from,
                                  void *field, struct oar_err *err)
{
    static const char *const wanted[] = {
        [OAR_OPT_INT] = "a whole number",
        [OAR_OPT_AUTO] = "a whole number or \"auto\"",
        [OAR_OPT_SIZE] = "a size like 512, 16k, 1m or 2g",
        [OAR_OPT_TIME] = "a time like 250ms, 20s, 5m or 1h",
    };
    double value = 0;
    if (o->kind == OAR_OPT_AUTO && strcmp(text, "auto") == 0) {
        *(int64_t *)field = 0;
        return OAR_OK;
    }
    if (!number(text, o->kind, &value)) {
        return oar_err_set(err, "%s: '%s' is not %s", from, text, wanted[o->kind]);
    }
    if (value < o->least || value > o->most) {
        return oar_err_set(err, "%s: %s is out of range: give %.0f to %.0f", from, text, o->least,
                           o->most);
    }
    if (o->kind == OAR_OPT_TIME) {
        *(double *)field = value;
    } else {
        *(int64_t *)field = (int64_t)value;
    }
    return OAR_OK;
}

/* The place of the word among "these|words"; -1: it is none of them. */
static int place_of(const char *words, const char *text)
{
    size_t len = strlen(text);
    int place = 0;
    for (const char *at = words; at; at = strchr(at, '|'), place++) {
        at += *at == '|';
        if (strncmp(at, text, len) == 0 && (at[len] == '|' || at[len] == '\0')) {
            return place;
        }
    }
    return -1;
}

static bool among(const char *words, const char *text)
{
    return place_of(words, text) >= 0;
}

static enum oar_status set_flag(const char *text, const char *from, bool *field,
                                struct oar_err *err)
{
    bool on = among("1|true|yes|on", text);
    if (!on && !among("0|false|no|off", text)) {
        return oar_err_set(err, "%s: '%s' is neither 1/true/yes/on nor 0/false/no/off", from, text);
    }
    *field = on;
    return OAR_OK;
}

/* `text` is kept, not copied. */
static enum oar_status set(struct oar_config *cfg, const struct oar_option *o, const char *text,
                           const char *from, struct oar_err *err)
{
    void *field = (char *)cfg + o->offset;
    enum oar_status status = OAR_OK;
    if (o->kind == OAR_OPT_FLAG) {
        status = set_flag(text, from, field, err);
    } else if (o->kind == OAR_OPT_LIST) {
        struct oar_strings *list = field;
        if (list->count == OAR_MAX_LISTENERS) {
            status = oar_err_set(err, "%s: given more than %d times", from, OAR_MAX_LISTENERS);
        } else {
            list->at[list->count++] = text;
        }
    } else if (o->kind != OAR_OPT_STR && o->kind != OAR_OPT_CHOICE) {
        status = set_number(o, text, from, field, err);
    } else if (strchr(o->metavar, '|') && !strstr(o->metavar, "PATH") && !among(o->metavar, text)) {
        status = oar_err_set(err, "%s: '%s' is not one of %s", from, text, o->metavar);
    } else if (o->kind == OAR_OPT_CHOICE) {
        *(int *)field = place_of(o->metavar, text);
    } else {
        *(const char **)field = text;
    }
    return status;
}

static enum oar_status set_defaults(struct oar_config *cfg, struct oar_err *err)
{
    enum oar_status status = OAR_OK;
    for (size_t i = 0; i < oar_options_count && status == OAR_OK; i++) {
        const struct oar_option *o = &oar_options[i];
        if (o->kind != OAR_OPT_FLAG && o->kind != OAR_OPT_LIST) {
            status = set(cfg, o, o->standard, o->flag, err);
        }
    }
    return status;
}

/* "a, b": each between commas. */
static enum oar_status set_list(struct oar_config *cfg, const struct oar_option *o,
                                const char *text, const char *from, struct oar_err *err)
{
    static char copy[4096]; /* cut at its commas; what the list points to */
    enum oar_status status = OAR_OK;
    char *rest = NULL;
    if (strlen(text) >= sizeof copy) {
        return oar_err_set(err, "%s: longer than %zu bytes", from, sizeof copy - 1);
    }
    snprintf(copy, sizeof copy, "%s", text);
    for (char *at = strtok_r(copy, ",", &rest); at && status == OAR_OK;
         at = strtok_r(NULL, ",", &rest)) {
        at += strspn(at, " ");
        for (size_t len = strlen(at); len > 0 && at[len - 1] == ' '; len--) {
            at[len - 1] = '\0';
        }
        status = *at ? set(cfg, o, at, from, err) : OAR_OK;
    }
    return status;
}

static enum oar_status set_from_environment(struct oar_config *cfg, char **env, struct oar_err *err)
{
    enum oar_status status = OAR_OK;
    for (; *env && status == OAR_OK; env++) {
        char name[OAR_OPTION_NAME];
        const struct oar_option *o = oar_option_of_env(*env);
        if (o) {
            const char *text = strchr(*env, '=') + 1;
            oar_option_env(o, name, sizeof name);
            status = o->kind == OAR_OPT_LIST ? set_list(cfg, o, text, name, err)
                                             : set(cfg, o, text, name, err);
        }
    }
    return status;
}

static enum oar_status unknown(const char *arg, size_t len, struct oar_err *err)
{
    const struct oar_option *o =
        len > 2 ? oar_option_near((struct oar_slice){arg + 2, len - 2}) : NULL;
    const char *near = o ? o->flag : NULL;
    return oar_err_set(err, "there is no option '%.*s'%s%s; oarlock --help lists them", (int)len,
                       arg, near ? "; did you mean --" : "", near ? near : "");
}

/* argv[*i] starts with "--": sets it, moving *i over a value that stands apart. */
static enum oar_status set_from_argument(struct oar_config *cfg, int argc, char **argv, int *i,
                                         bool *list_given, struct oar_err *err)
{
    const char *arg = argv[*i];
    const char *equals = strchr(arg, '=');
    size_t len = equals ? (size_t)(equals - arg) : strlen(arg);
    bool no = strncmp(arg, "--no-", 5) == 0;
    for (size_t k = 0; k < oar_options_count; k++) {
        const struct oar_option *o = &oar_options[k];
        size_t skip = no && o->kind == OAR_OPT_FLAG ? 5 : 2;
        if (strlen(o->flag) != len - skip || memcmp(arg + skip, o->flag, len - skip) != 0) {
            continue;
        }
        const char *value = equals ? equals + 1 : NULL;
        if (skip == 5 && value) {
            return oar_err_set(err,
                               "--no-%s takes no value, but '%s' was given; give --no-%s or --%s",
                               o->flag, value, o->flag, o->flag);
        }
        if (o->kind == OAR_OPT_FLAG && !value) {
            value = skip == 5 ? "0" : "1";
        } else if (!value && *i + 1 < argc) {
            value = argv[++*i];
        }
        if (!value) {
            return oar_err_set(err, "%s needs a value: %s %s", arg, arg, o->metavar);
        }
        if (o->kind == OAR_OPT_LIST &&
            !*list_given) { /* the command line replaces the environment */
            *(struct oar_strings *)((char *)cfg + o->offset) = (struct oar_strings){0};
            *list_given = true;
        }
        char from[64];
        snprintf(from, sizeof from, "--%s", o->flag);
        return set(cfg, o, value, from, err);
    }
    return unknown(arg, len, err);
}

static enum oar_status command(struct oar_config *cfg, const char *word, struct oar_err *err)
{
    static const struct {
        const char *word;
        enum oar_command command;
    } commands[] = {
        {"run", OAR_CMD_RUN},           {"routes", OAR_CMD_ROUTES},
        {"help", OAR_CMD_HELP},         {"--help", OAR_CMD_HELP},
        {"-h", OAR_CMD_HELP},           {"version", OAR_CMD_VERSION},
        {"--version", OAR_CMD_VERSION}, {"options-doc", OAR_CMD_OPTIONS_DOC},
    };
    for (size_t i = 0; i < OAR_ARRAY_LEN(commands); i++) {
        if (strcmp(word, commands[i].word) == 0) {
            cfg->command = commands[i].command;
            return OAR_OK;
        }
    }
    return oar_err_set(
        err, "there is no command '%s'; give run, routes, compare, tune or doctor (oarlock --help)",
        word);
}

static bool is_file(const char *target, size_t module_len)
{
    return memchr(target, '/', module_len) ||
           (module_len > 3 && memcmp(target + module_len - 3, ".py", 3) == 0);
}

static bool names_attribute(const char *target)
{
    size_t module = strcspn(target, ":");
    return module > 0 && target[module] == ':' && target[module + 1] != '\0' &&
           !is_file(target, module);
}

/* The path of a file in another folder is its module with that folder as --app-dir. */
static enum oar_status wrong_target(const char *target, struct oar_err *err)
{
    size_t len = strcspn(target, ":");
    const char *attribute = target[len] && target[len + 1] ? target + len + 1 : "app";
    if (len == 0 || !is_file(target, len)) {
        return oar_err_set(
            err, "'%s' does not name an application: give module:attribute, such as %.*s:%s",
            target, len ? (int)len : 4, len ? target : "main", attribute);
    }
    const char *slash = memrchr(target, '/', len);
    const char *module = slash ? slash + 1 : target;
    int folder = slash ? (int)OAR_MAX(slash - target, 1) : 0;
    size_t end = len - (size_t)(module - target);
    end -= end > 3 && memcmp(module + end - 3, ".py", 3) == 0 ? 3 : 0;
    return oar_err_set(err, "'%s' names a file: give module:attribute, such as %.*s:%s%s%.*s",
                       target, (int)end, module, attribute, folder ? " --app-dir " : "", folder,
                       target);
}

static enum oar_status check_target(const struct oar_config *cfg, struct oar_err *err)
{
    bool needed = (cfg->command == OAR_CMD_RUN && !cfg->stub) ||
                  (cfg->command == OAR_CMD_ROUTES && !cfg->live);
    if (!needed || (cfg->target && names_attribute(cfg->target))) {
        return OAR_OK;
    }
    if (cfg->target) {
        return wrong_target(cfg->target, err);
    }
    return oar_err_set(err, "no application was named: give module:attribute, such as main:app");
}

static bool list_has(const char *list, const char *word)
{
    size_t len = strlen(word);
    bool found = false;
    for (; *list && !found; list += strcspn(list, ","), list += *list == ',') {
        found = strcspn(list, ",") == len && memcmp(list, word, len) == 0;
    }
    return found;
}

struct oar_forwarding oar_config_forwarded(const struct oar_config *cfg)
{
    struct oar_forwarding how = {.which = (enum oar_proxy_headers_choice)cfg->proxy_headers,
                                 .client = list_has(cfg->proxy_fields, "for"),
                                 .scheme = list_has(cfg->proxy_fields, "proto"),
                                 .host = list_has(cfg->proxy_fields, "host")};
    return how;
}

static enum oar_status check_proxy_fields(const char *text, struct oar_err *err)
{
    for (const char *p = text; *p; p += *p == ',') {
        size_t len = strcspn(p, ",");
        char word[8];
        snprintf(word, sizeof word, "%.*s", (int)OAR_MIN(len, sizeof word - 1), p);
        if (!list_has("for,proto,host", word) || strlen(word) != len) {
            return oar_err_set(err, "--proxy-fields: '%s' is not a list of for, proto and host",
                               text);
        }
        p += len;
    }
    return OAR_OK;
}

/* Options whose text has a form of its own. */
static enum oar_status check_words(const struct oar_config *cfg, struct oar_err *err)
{
    struct oar_networks networks;
    if (*cfg->unix_mode == '\0' || strspn(cfg->unix_mode, "01234567") != strlen(cfg->unix_mode) ||
        strlen(cfg->unix_mode) > 4) {
        return oar_err_set(err, "--unix-mode: '%s' is no mode in octal, like 660", cfg->unix_mode);
    }
    if (check_proxy_fields(cfg->proxy_fields, err) != OAR_OK) {
        return OAR_ERR;
    }
    return oar_networks_parse(cfg->trusted_proxies, "--trusted-proxies", &networks, err);
}

enum oar_status oar_config_parse(struct oar_config *cfg, int argc, char **argv, char **environ_,
                                 struct oar_err *err)
{
    bool list_given = false;
    *cfg = (struct oar_config){.command = OAR_CMD_HELP};
    enum oar_status status = argc > 1 ? command(cfg, argv[1], err) : OAR_OK;
    if (status == OAR_OK) {
        status = set_defaults(cfg, err);
    }
    if (status == OAR_OK) {
        status = set_from_environment(cfg, environ_, err);
    }
    for (int i = 2; i < argc && status == OAR_OK; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            cfg->command = OAR_CMD_HELP;
        } else if (argv[i][0] == '-') {
            status = set_from_argument(cfg, argc, argv, &i, &list_given, err);
        } else if (cfg->target) {
            status = oar_err_set(err, "two applications were named: '%s' and '%s'", cfg->target,
                                 argv[i]);
        } else {
            cfg->target = argv[i];
        }
    }
    if (status == OAR_OK && cfg->bind.count == 0) {
        cfg->bind.at[cfg->bind.count++] = "127.0.0.1:8000";
    }
    if (status == OAR_OK) {
        status = check_words(cfg, err);
    }
    return status == OAR_OK ? check_target(cfg, err) : status;
}

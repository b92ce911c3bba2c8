/* SPDX-License-Identifier: MIT
 * Writes --help and docs/options.md from the option table.
 * Process: master, then it ends. Owns a buffer for one call. Never knows an option by name. */
#include <stdio.h>
#include <unistd.h>

#include "oarlock/version.h"
#include "shared/buf.h"
#include "shared/option.h"

static void flush(struct oar_buf *out, int fd)
{
    for (size_t at = 0; at < out->len;) {
        ssize_t n = write(fd, out->data + at, out->len - at);
        if (n <= 0) {
            break;
        }
        at += (size_t)n;
    }
    oar_buf_free(out);
}

static void help_row(struct oar_buf *out, const struct oar_option *o)
{
    char left[96];
    int n = snprintf(left, sizeof left, "  --%s%s%s", o->flag, *o->metavar ? " " : "", o->metavar);
    oar_buf_printf(out, n < 34 ? "%-34s" : "%s\n                                  ", left);
    oar_buf_printf(out, "%s", o->help);
    if (*o->standard && strcmp(o->standard, "-1") != 0) {
        oar_buf_printf(out, " [%s]", o->standard);
    }
    oar_buf_printf(out, "\n");
}

void oar_config_help(int fd)
{
    struct oar_buf out = {0};
    const char *group = "";
    oar_buf_printf(
        &out,
        "oarlock " OAR_VERSION ": a prefork HTTP server in C for Python handlers\n\n"
        "usage: oarlock run module:attribute [options]     serve an application\n"
        "       oarlock run --stub [options]               serve GET /hello without Python\n"
        "       oarlock routes module:attribute [options]  print the compiled route table\n"
        "       oarlock compare [module:attribute]         GIL or no GIL: measure both, and report\n"
        "       oarlock tune [module:attribute]            the best workers, threads and pool threads\n"
        "       oarlock doctor module:attribute            what stands in the way of threads\n"
        "       oarlock --help | --version\n\n"
        "Each option can also be given in the environment: --max-head is OARLOCK_MAX_HEAD.\n"
        "Sizes take k, m, g; times take ms, s, m, h. [ ] is the default.\n");
    for (size_t i = 0; i < oar_options_count; i++) {
        if (strcmp(group, oar_options[i].group) != 0) {
            group = oar_options[i].group;
            oar_buf_printf(&out, "\n%s\n", group);
        }
        help_row(&out, &oar_options[i]);
    }
    oar_buf_printf(
        &out,
        "\nSignals: SIGTERM and SIGINT stop the server gracefully; a second one cuts at once. SIGUSR1 logs the scoreboard.\n");
    flush(&out, fd);
}

static void markdown_cell(struct oar_buf *out, const char *text)
{
    for (; *text; text++) { /* a bar would end the cell */
        oar_buf_printf(out, *text == '|' ? "\\|" : "%c", *text);
    }
}

static void range(struct oar_buf *out, const struct oar_option *o)
{
    if (o->kind == OAR_OPT_STR || o->kind == OAR_OPT_CHOICE || o->kind == OAR_OPT_FLAG ||
        o->kind == OAR_OPT_LIST) {
        return;
    }
    const char *unit = o->kind == OAR_OPT_TIME ? " s" : o->kind == OAR_OPT_SIZE ? " bytes" : "";
    oar_buf_printf(out, "%.0f to %.0f%s", o->least, o->most, unit);
}

void oar_config_markdown(int fd)
{
    struct oar_buf out = {0};
    const char *group = "";
    oar_buf_printf(
        &out, "# Options\n\nWritten by `make docs` from the option table in "
              "`include/oarlock/config.h`; do not edit.\n\n"
              "The command line wins over the environment, the environment over the default. "
              "Sizes take `k`, `m`, `g`\n(powers of 1024); times take `ms`, `s`, `m`, `h`. "
              "A flag is switched off by `--no-FLAG`.\n"
              "In the environment, an option that may be repeated takes a list with commas. "
              "A variable `OARLOCK_*` that is no option is named in a warning at the start.\n");
    for (size_t i = 0; i < oar_options_count; i++) {
        const struct oar_option *o = &oar_options[i];
        char env[64];
        oar_option_env(o, env, sizeof env);
        if (strcmp(group, o->group) != 0) {
            group = o->group;
            oar_buf_printf(&out,
                           "\n## %s\n\n| option | environment | default | range | what it does |\n"
                           "|---|---|---|---|---|\n",
                           group);
        }
        oar_buf_printf(&out, "| `--%s%s", o->flag, *o->metavar ? " " : "");
        markdown_cell(&out, o->metavar);
        oar_buf_printf(&out, "` | `%s` | %s | ", env,
                       o->kind == OAR_OPT_FLAG ? "off"
                       : *o->standard          ? o->standard
                                               : "-");
        range(&out, o);
        oar_buf_printf(&out, " | ");
        markdown_cell(&out, o->help);
        oar_buf_printf(&out, " |\n");
    }
    flush(&out, fd);
}

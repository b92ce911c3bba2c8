/* SPDX-License-Identifier: MIT
 * Reads the case files of tests/http: name | bytes | expectation, with escapes. Include it behind
 * shared/buf.c. */
#ifndef OARLOCK_CASE_FILE_H
#define OARLOCK_CASE_FILE_H

#include "shared/buf.h"

static void unescape(const char *in, size_t len, struct oar_buf *out)
{
    for (size_t i = 0; i < len; i++) {
        unsigned n = 0;
        int used = 0;
        if (in[i] == '\\' && in[i + 1] == 'x' && sscanf(in + i + 2, "%2x", &n) == 1) {
            oar_buf_put(out, &(char){(char)n}, 1);
            i += 3;
        } else if (in[i] == '\\') {
            char c = in[++i];
            c = c == 'r' ? '\r' : c == 'n' ? '\n' : c == 't' ? '\t' : c == '0' ? '\0' : c;
            oar_buf_put(out, &c, 1);
        } else if (strncmp(in + i, "{H}", 3) == 0) {
            oar_buf_put(out, "Host: a\r\n", 9);
            i += 2;
        } else if (sscanf(in + i, "{F%u}%n", &n, &used) == 1 && used) {
            while (n--) {
                oar_buf_put(out, "A: b\r\n", 6);
            }
            i += (size_t)used - 1;
        } else if (sscanf(in + i, "{%u}%n", &n, &used) == 1 && used) {
            while (n--) {
                oar_buf_put(out, "a", 1);
            }
            i += (size_t)used - 1;
        } else {
            oar_buf_put(out, in + i, 1);
        }
    }
}

typedef void (*case_run)(const char *name, const struct oar_buf *bytes,
                         const struct oar_buf *expected);

/* Returns the number of cases. */
static int each_case(const char *path, case_run run)
{
    char line[65536];
    int cases = 0;
    FILE *f = fopen(path, "r");
    if (!f) {
        fail_msg("cannot open %s; run from the root of the tree", path);
    }
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        char *bytes_at = strstr(line, " | ");
        char *expect_at = bytes_at ? strstr(bytes_at + 3, " | ") : NULL;
        if (line[0] == '#' || !expect_at) {
            assert_true(line[0] == '#' || line[0] == '\0');
            continue;
        }
        *bytes_at = '\0';
        struct oar_buf bytes = {0};
        struct oar_buf expected = {0};
        unescape(bytes_at + 3, (size_t)(expect_at - bytes_at - 3), &bytes);
        unescape(expect_at + 3, strlen(expect_at + 3), &expected);
        run(line, &bytes, &expected);
        oar_buf_free(&bytes);
        oar_buf_free(&expected);
        cases++;
    }
    fclose(f);
    return cases;
}

#endif

/* SPDX-License-Identifier: MIT
 * The route table at size: time to compile, bytes, and nanoseconds for a match in random order.
 * Process: its own, one thread. Owns everything; bounded by its rounds. Includes the sources that
 * the server compiles, so that it measures them and no copy. Never talks to anyone.
 * usage: routes [--check]   with --check: exit status 1 when a bar of bench/method.md is missed */
#include <stdio.h>
#include <time.h>

#include "shared/buf.c"
#include "shared/err.c"
#include "shared/fingerprint.c"
#include "shared/json_manifest.c"
#include "shared/methods.c"
#include "shared/route_build.c"
#include "shared/route_match.c"
#include "shared/route_order.c"
#include "shared/route_pattern.c"

enum { SIZES = 2, ROUNDS = 21, MATCHES = 200000, MOST_ROUTES = 10000, MOST_PATH = 96 };
static const int sizes[SIZES] = {1000, MOST_ROUTES};
static const double MOST_COMPILE_S = 1.0, MOST_MATCH_NS = 150.0, MOST_GROWTH = 1.5;

struct sized {
    struct oar_built built;
    double compile_s;
    double ns[ROUNDS];
};

static char paths[MOST_ROUTES][MOST_PATH];
static struct oar_slice order[MATCHES];
/* The paths in the order they are asked: as in a server, a path itself is at hand when it is
 * matched, and only the table is visited at random. */
static char asked[MATCHES * MOST_PATH];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t random64(void)
{
    static uint64_t x = 88172645463325252ULL; /* xorshift64: the same order in every run */
    x ^= x << 13;
    x ^= x >> 7;
    return x ^= x << 17;
}

/* Routes as large services have them: a version, an area, a resource, ids, an action. */
static void one_route(int i, char *pattern, size_t room, char *path, size_t path_room)
{
    static const char *const actions[] = {"", "/history", "/members/{member}", "/export"};
    static const char *const request[] = {"", "/history", "/members/4711", "/export"};
    int kind = i % 4, resource = i / 4;
    snprintf(pattern, room, "/api/v%d/area-%d/resource%d/{id}%s", resource % 3, resource % 40,
             resource, actions[kind]);
    snprintf(path, path_room, "/api/v%d/area-%d/resource%d/%d%s", resource % 3, resource % 40,
             resource, 1000 + i, request[kind]);
}

static enum oar_status compile(int n, struct sized *s, struct oar_err *err)
{
    struct oar_buf json = {0};
    char pattern[MOST_PATH];
    oar_buf_printf(&json, "{\"version\":1,\"redirect_slashes\":true,\"routes\":[");
    for (int i = 0; i < n; i++) {
        one_route(i, pattern, sizeof pattern, paths[i], sizeof paths[i]);
        oar_buf_printf(&json,
                       "%s{\"path\":\"%s\",\"name\":\"h%d\",\"source\":\"app.py:%d\",\"kind\":"
                       "\"def\",\"blocking\":\"auto\",\"params\":[],\"methods\":[\"GET\"]}",
                       i ? "," : "", pattern, i, i + 1);
    }
    oar_buf_printf(&json, "]}");
    double started = now();
    enum oar_status status =
        oar_manifest_compile((struct oar_slice){json.data, json.len}, false, false, &s->built, err);
    s->compile_s = now() - started;
    oar_buf_free(&json);
    return status;
}

/* Nanoseconds for one match; every answer is checked to be a match. */
static double matches(const struct sized *s, int n)
{
    char scratch[4096];
    struct oar_match found;
    int wrong = 0;
    char *to = asked;
    for (int i = 0; i < MATCHES; i++) {
        const char *path = paths[random64() % (uint64_t)n];
        order[i] = (struct oar_slice){to, strlen(path)};
        memcpy(to, path, order[i].len);
        to += order[i].len;
    }
    double started = now();
    for (int i = 0; i < MATCHES; i++) { /* the route is read too, as dispatch does */
        wrong += oar_route_match(s->built.bytes, OAR_GET, order[i], scratch, &found) !=
                     OAR_MATCH_FOUND ||
                 found.route->kind != OAR_HANDLER_DEF;
    }
    double took = now() - started;
    return wrong ? -1 : took / MATCHES * 1e9;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static struct sized at[SIZES];
    double growth[ROUNDS];
    struct oar_err err;
    for (int s = 0; s < SIZES; s++) {
        if (compile(sizes[s], &at[s], &err) != OAR_OK) {
            fprintf(stderr, "routes: %s\n", err.text);
            return 1;
        }
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (int s = 0; s < SIZES; s++) {
            at[s].ns[round] = matches(&at[s], sizes[s]);
            if (at[s].ns[round] < 0) {
                fprintf(stderr, "routes: a path was not matched\n");
                return 1;
            }
        }
        growth[round] = at[1].ns[round] / at[0].ns[round];
    }
    qsort(growth, ROUNDS, sizeof *growth, by_value);
    for (int s = 0; s < SIZES; s++) {
        qsort(at[s].ns, ROUNDS, sizeof *at[s].ns, by_value);
        printf("%6d routes: compiled in %.1f ms to %.2f MiB; a match in random order: %.0f ns "
               "(median of %d rounds of %d; %.0f-%.0f)\n",
               sizes[s], at[s].compile_s * 1e3, (double)at[s].built.size / 1048576,
               at[s].ns[ROUNDS / 2], ROUNDS, MATCHES, at[s].ns[2], at[s].ns[ROUNDS - 3]);
    }
    printf("a match among %d costs %.2f x one among %d\n", sizes[1], growth[ROUNDS / 2], sizes[0]);
    bool fine = at[1].compile_s < MOST_COMPILE_S && at[1].ns[ROUNDS / 2] < MOST_MATCH_NS &&
                growth[ROUNDS / 2] <= MOST_GROWTH;
    printf("bars (compile < 1 s, match < 150 ns, at most 1.5 x): %s\n", fine ? "hold" : "MISSED");
    return argc > 1 && strcmp(argv[1], "--check") == 0 && !fine;
}

/* SPDX-License-Identifier: MIT
 * Reads responses, checks them against what was expected, and keeps histograms. Process: the load
 * generator's. Owns the learned bodies. Never trusts a length that it has not the bytes for. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#include "load/load.h"

uint64_t load_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

unsigned histogram_bucket(uint64_t ns)
{
    unsigned exponent = ns < SUB ? 0 : 63u - (unsigned)__builtin_clzll(ns) - 4u;
    uint64_t bucket = exponent * (SUB / 2) + (ns >> exponent);
    return (unsigned)OAR_MIN(bucket, (uint64_t)BUCKETS - 1);
}

void histogram_add(struct histogram *h, uint64_t ns)
{
    h->count[histogram_bucket(ns)]++;
    h->all++;
    h->most = OAR_MAX(h->most, ns);
}

static double middle_of(uint64_t bucket)
{
    double exponent = bucket < SUB ? 0 : (double)(bucket / (SUB / 2) - 1);
    double low = (double)bucket;
    if (bucket >= SUB) {
        uint64_t e = bucket / (SUB / 2) - 1;
        low = (double)((bucket - e * (SUB / 2)) << e);
    }
    return low + 0.5 * (double)((uint64_t)1 << (unsigned)exponent);
}

double histogram_us(const struct histogram *h, double p)
{
    uint64_t seen = 0;
    for (uint64_t i = 0; i < BUCKETS && h->all; i++) {
        seen += h->count[i];
        if ((double)seen >= p * (double)h->all) {
            return OAR_MIN(middle_of(i), (double)h->most) / 1000.0;
        }
    }
    return 0;
}

uint64_t body_hash(const char *body, size_t len)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++) {
        h = (h ^ (unsigned char)body[i]) * 0x100000001b3u;
    }
    return h;
}

/* The end of a chunked body at `p`, or NULL: not there yet. */
static const char *chunked_end(const char *p, const char *end)
{
    for (;;) {
        const char *line = memchr(p, '\n', (size_t)(end - p));
        if (!line) {
            return NULL;
        }
        size_t size = strtoul(p, NULL, 16);
        if (size == 0) { /* no trailers are expected: the empty line follows */
            return line + 3 <= end ? line + 3 : NULL;
        }
        if (size > (size_t)MOST_RESPONSE || (size_t)(end - line - 1) < size + 2) {
            return NULL;
        }
        p = line + 1 + size + 2;
    }
}

static bool is_field(const char *line, const char *end, const char *name, const char **value)
{
    size_t len = strlen(name);
    bool is = (size_t)(end - line) > len && strncasecmp(line, name, len) == 0;
    *value = line + len;
    return is;
}

/* "queue;dur=0.012, gil;dur=..., gc;dur=..., handler;dur=..., read;desc=123": milliseconds. */
static void read_timing(struct response *r, const char *value)
{
    double ms[4];
    unsigned long long at;
    if (sscanf(value, " queue;dur=%lf, gil;dur=%lf, gc;dur=%lf, handler;dur=%lf, read;desc=%llu",
               &ms[0], &ms[1], &ms[2], &ms[3], &at) == 5) {
        for (int i = 0; i < 4; i++) {
            r->part[i] = ms[i] > 0 ? (uint64_t)(ms[i] * 1e6) : 0;
        }
        r->read_ns = at;
        r->timed = true;
    }
}

static bool is_ok(const struct kind *k, int status)
{
    return k->status ? status == k->status : status >= 200 && status < 300;
}

struct response response_at(const struct kind *k, const char *p, size_t len)
{
    struct response r = {.len = 0};
    size_t total = k->head_len + k->body_len;
    if (k->learned && k->head_len && len >= total && memcmp(p, "HTTP/1.1 2", 10) == 0 &&
        memcmp(p + k->head_len - 4, "\r\n\r\n", 4) == 0 &&
        memcmp(p + k->length_at, k->length_line, k->length_len) == 0) {
        /* as the first one was: nothing but a date differs in the head */
        return (struct response){.len = total,
                                 .status = k->last_status,
                                 .body = p + k->head_len,
                                 .body_len = k->body_len};
    }
    const char *end = memmem(p, len, "\r\n\r\n", 4);
    if (!end) {
        return r;
    }
    if (len < 12 || memcmp(p, "HTTP/1.", 7) != 0) {
        r.len = SIZE_MAX;
        return r;
    }
    r.status = atoi(p + 9);
    r.closes = p[7] == '0';
    size_t body = 0;
    bool chunked = false;
    for (const char *line = memchr(p, '\n', len), *v; line && line < end;
         line = memchr(line, '\n', (size_t)(end + 2 - line))) {
        line++;
        if (is_field(line, end, "content-length:", &v)) {
            body = strtoul(v, NULL, 10);
        } else if (is_field(line, end, "transfer-encoding:", &v)) {
            chunked = true;
        } else if (is_field(line, end, "connection: close", &v)) {
            r.closes = true;
        } else if (is_field(line, end, "server-timing:", &v)) {
            read_timing(&r, v);
        }
    }
    r.body = end + 4;
    if (r.status == 204 || r.status == 304) {
        body = 0;
    } else if (chunked) {
        const char *last = chunked_end(r.body, p + len);
        if (!last) {
            r.len = 0;
            return r;
        }
        body = (size_t)(last - r.body);
    }
    if (body > (size_t)MOST_RESPONSE) {
        r.len = SIZE_MAX;
        return r;
    }
    r.body_len = body;
    r.len = (size_t)(r.body - p) + body;
    r.head = p;
    if (r.len > len) {
        r.len = 0;
    }
    return r;
}

/* Remembers the first good response: its body, and how its head is known again. */
static void learn(struct kind *k, const struct response *r)
{
    k->body = malloc(r->body_len + 1);
    if (!k->body) {
        return;
    }
    memcpy(k->body, r->body, r->body_len);
    k->body_len = r->body_len;
    k->last_status = r->status;
    k->learned = true;
    size_t head_len = (size_t)(r->body - r->head);
    const char *line = r->head;
    while (line && line < r->body && strncasecmp(line, "content-length:", 15) != 0) {
        line = memchr(line, '\n', (size_t)(r->body - line));
        line += line != NULL;
    }
    const char *end = line ? memchr(line, '\n', (size_t)(r->body - line)) : NULL;
    if (end && !r->timed && !r->closes && !k->is_volatile &&
        (size_t)(end - line) < sizeof k->length_line) {
        k->head_len = head_len;
        k->length_at = (size_t)(line - r->head);
        k->length_len = (size_t)(end - line);
        memcpy(k->length_line, line, k->length_len);
    }
}

bool response_check(struct kind *k, const struct response *r)
{
    bool good = is_ok(k, r->status);
    if (!good) {
        k->bad_status++;
        k->last_status = r->status;
        return false;
    }
    if (!k->learned) {
        learn(k, r);
    } else if (!k->is_volatile &&
               (r->body_len != k->body_len || memcmp(r->body, k->body, r->body_len) != 0)) {
        k->mismatched++;
        good = false;
    }
    k->good += good;
    return good;
}

int kinds_read(const char *path)
{
    FILE *f = fopen(path, "rb");
    int n = 0;
    int is_volatile;
    size_t len;
    bool fine = f != NULL;
    while (fine && n < MOST_KINDS) {
        struct kind *k = &kinds[n];
        int got =
            fscanf(f, "%63s %d %d %d %zu", k->name, &k->weight, &k->status, &is_volatile, &len);
        if (got == EOF) {
            break;
        }
        k->is_volatile = is_volatile;
        k->request_len = len;
        fine =
            got == 5 && k->weight > 0 && len > 0 && len <= (size_t)MOST_REQUEST && fgetc(f) == '\n';
        k->request = fine ? malloc(len) : NULL;
        fine = k->request && fread(k->request, 1, len, f) == len && fgetc(f) == '\n';
        n += fine;
    }
    if (f) {
        fclose(f);
    }
    if (!fine || n == 0) {
        fprintf(stderr,
                "load: %s: kind %d is not NAME WEIGHT STATUS VOLATILE LENGTH and that many bytes\n",
                path, n + 1);
        n = 0;
    }
    return n;
}

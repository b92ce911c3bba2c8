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

static bool is_ok(const struct kind *k, int status)
{
    return k->status ? status == k->status : status >= 200 && status < 300;
}

struct response response_at(const struct kind *k, const char *p, size_t len, bool ended)
{
    size_t total = k->head_len + k->body_len;
    if (k->learned && k->head_len && len >= total && memcmp(p, k->status_line, STATUS_LINE) == 0 &&
        memcmp(p + k->head_len - 4, "\r\n\r\n", 4) == 0 &&
        memcmp(p + k->length_at, k->length_line, k->length_len) == 0) {
        /* as the first one was: nothing but a date differs in the head */
        return (struct response){.len = total,
                                 .status = k->learned_status,
                                 .body = p + k->head_len,
                                 .body_len = k->body_len};
    }
    return response_parse(p, len, k->is_head, ended);
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
    k->learned_status = r->status;
    k->learned = true;
    size_t head_len = (size_t)(r->body - r->head);
    const char *line = r->head;
    while (line && line < r->body && strncasecmp(line, "content-length:", 15) != 0) {
        line = memchr(line, '\n', (size_t)(r->body - line));
        line += line != NULL;
    }
    const char *end = line ? memchr(line, '\n', (size_t)(r->body - line)) : NULL;
    if (end && !r->timed && !r->closes && head_len > STATUS_LINE &&
        (size_t)(end - line) < sizeof k->length_line) {
        k->head_len = head_len;
        k->length_at = (size_t)(line - r->head);
        k->length_len = (size_t)(end - line);
        memcpy(k->length_line, line, k->length_len);
        memcpy(k->status_line, r->head, STATUS_LINE);
    }
}

bool response_check(struct kind *k, const struct response *r)
{
    bool good = is_ok(k, r->status);
    k->last_status = r->status;
    if (!good) {
        k->bad_status++;
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

/* SPDX-License-Identifier: MIT
 * What an interval has found, as one line of JSON. Process: the load generator's. Owns nothing.
 * Never leaves out what went wrong. */
#include <stdio.h>

#include "load/load.h"

static void print_latency(const struct histogram *h)
{
    printf(
        "\"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f",
        histogram_us(h, .5), histogram_us(h, .9), histogram_us(h, .99), histogram_us(h, .999),
        (double)h->most / 1000.0);
}

/* The mean of the parts of those requests whose latency is near a percentile. */
static void print_parts(double p, const char *name, const char *separator)
{
    static const char *const names[] = {"queue", "gil", "gc", "handler", "write"};
    double low = (p - (1 - p) / 2) * (double)run.latency.all;
    double high = (p + (1 - p) / 2) * (double)run.latency.all;
    double sum[PARTS] = {0};
    double n = 0;
    double seen = 0;
    for (int i = 0; i < BUCKETS; i++) {
        double next = seen + (double)run.latency.count[i];
        if (next >= low && seen <= high && run.part_count[i]) {
            n += (double)run.part_count[i];
            for (int j = 0; j < PARTS; j++) {
                sum[j] += run.part_sum[i][j];
            }
        }
        seen = next;
    }
    printf("\"%s\": {", name);
    for (int j = 0; j < PARTS; j++) {
        printf("\"%s\": %.2f%s", names[j], n > 0 ? sum[j] / n / 1000.0 : 0,
               j + 1 < PARTS ? ", " : "}");
    }
    printf("%s", separator);
}

void load_report(double cpu)
{
    uint64_t until = opt.requests ? run.last_completed : run.ends;
    double elapsed = (double)(until - run.counts_from) / 1e9;
    uint64_t bad = 0;
    uint64_t mismatched = 0;
    for (int i = 0; i < n_kinds; i++) {
        bad += kinds[i].bad_status;
        mismatched += kinds[i].mismatched;
    }
    printf(
        "{\"requests\": %llu, \"completed\": %llu, \"seconds\": %.4f, \"rate\": %.2f, \"errors\": %llu, "
        "\"bad_status\": %llu, \"mismatched\": %llu, \"resets\": %llu, \"refused\": %llu, \"late\": %llu, "
        "\"generator_cpu\": %.4f, \"busy_seconds\": %.4f, ",
        (unsigned long long)run.counted, (unsigned long long)run.completed, elapsed,
        elapsed > 0 ? (double)run.counted / elapsed : 0, (unsigned long long)run.errors,
        (unsigned long long)bad, (unsigned long long)mismatched, (unsigned long long)run.resets,
        (unsigned long long)run.refused, (unsigned long long)run.late, cpu,
        (double)(load_now() - run.started) / 1e9);
    print_latency(&run.latency);
    printf(", \"kinds\": [");
    for (int i = 0; i < n_kinds; i++) {
        const struct kind *k = &kinds[i];
        printf("%s{\"name\": \"%s\", \"requests\": %llu, \"status\": %d, \"bytes\": %zu, "
               "\"body\": \"%016llx\", ",
               i ? ", " : "", k->name, (unsigned long long)k->latency.all, k->last_status,
               k->body_len, (unsigned long long)(k->learned ? body_hash(k->body, k->body_len) : 0));
        print_latency(&k->latency);
        printf("}");
    }
    printf("], \"parts\": {");
    print_parts(.5, "p50", ", ");
    print_parts(.9, "p90", ", ");
    print_parts(.99, "p99", ", ");
    print_parts(.999, "p999", "}}\n");
    fflush(stdout);
}

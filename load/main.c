/* SPDX-License-Identifier: MIT
 * A load generator lighter than the servers it measures: requests of one or of several kinds in the
 * proportion of their weights, each response checked: its status, and that its body is the first
 * one's. With --commands it keeps its connections and runs an interval for each line of standard
 * input. Process: its own. Owns the options and the requests. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "load/load.h"

struct options opt = {.connections = 64,
                      .pipeline = 1,
                      .seconds = 2,
                      .method = "GET",
                      .path = "/",
                      .body = "",
                      .header = ""};
struct kind kinds[MOST_KINDS];
int n_kinds, total_weight;
char *batch;

/* The request with one more field, behind its first line. */
static void make_asking(struct kind *k)
{
    static const char field[] = "Oarlock-Timing: 1\r\n";
    const char *line = memchr(k->request, '\n', k->request_len);
    size_t before = line ? (size_t)(line + 1 - k->request) : 0;
    k->asking_len = k->request_len + (before ? sizeof field - 1 : 0);
    k->asking = malloc(k->asking_len);
    if (!k->asking) {
        exit(1);
    }
    memcpy(k->asking, k->request, before);
    memcpy(k->asking + before, field, k->asking_len - k->request_len);
    memcpy(k->asking + before + (k->asking_len - k->request_len), k->request + before,
           k->request_len - before);
}

static void prepare(void)
{
    if (opt.kinds_file) {
        n_kinds = kinds_read(opt.kinds_file);
        if (n_kinds == 0) {
            exit(2);
        }
    } else {
        struct kind *k = &kinds[0];
        size_t body = strlen(opt.body);
        char length[80] = "";
        if (body) {
            snprintf(length, sizeof length,
                     "Content-Type: application/json\r\nContent-Length: %zu\r\n", body);
        }
        int n = asprintf(&k->request, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s%s%s\r\n%s",
                         opt.method, opt.path, opt.port, opt.header, *opt.header ? "\r\n" : "",
                         length, opt.body);
        if (n < 0) {
            exit(1);
        }
        k->request_len = (size_t)n;
        k->weight = 1;
        k->is_volatile = true; /* a request by hand: only its status is looked at */
        snprintf(k->name, sizeof k->name, "request");
        n_kinds = 1;
    }
    for (int i = 0; i < n_kinds; i++) {
        total_weight += kinds[i].weight;
        kinds[i].is_head = kinds[i].request_len > 5 && memcmp(kinds[i].request, "HEAD ", 5) == 0;
        make_asking(&kinds[i]);
    }
    if (opt.pipeline > 1) {
        size_t len = kinds[0].request_len;
        if (n_kinds > 1 || len * (size_t)opt.pipeline > 65536) {
            fprintf(stderr, "load: --pipeline takes one short request\n");
            exit(2);
        }
        batch = malloc(len * (size_t)opt.pipeline);
        for (int i = 0; batch && i < opt.pipeline; i++) {
            memcpy(batch + (size_t)i * len, kinds[0].request, len);
        }
    }
}

static void usage(void)
{
    fprintf(
        stderr,
        "usage: load --port N [--path /] [--connections 64] [--pipeline 1] [--seconds 2 | --requests N]\n"
        "            [--ramp S] [--rate R] [--reconnect] [--method M] [--body TEXT] [--header 'Name: value']\n"
        "            [--kinds FILE] [--commands]\n"
        "sends requests to 127.0.0.1:N and prints one line of JSON\n"
        "  --kinds FILE  for each kind a line NAME WEIGHT STATUS VOLATILE LENGTH, then the request's bytes\n"
        "  --ramp S      seconds of load that are not counted, before those that are\n"
        "  --commands    opens the connections, says \"ready\", then for each line \"SECONDS RAMP RATE\" of\n"
        "                standard input (rate 0: closed loop) runs an interval and prints its JSON;\n"
        "                \"reconnect\" opens all connections anew\n");
    exit(2);
}

static void read_options(int argc, char **argv)
{
    static const struct option names[] = {
        {"port", 1, 0, 'p'},     {"path", 1, 0, 'a'},      {"connections", 1, 0, 'c'},
        {"pipeline", 1, 0, 'l'}, {"seconds", 1, 0, 's'},   {"requests", 1, 0, 'n'},
        {"rate", 1, 0, 'r'},     {"reconnect", 0, 0, 'x'}, {"method", 1, 0, 'm'},
        {"body", 1, 0, 'b'},     {"header", 1, 0, 'h'},    {"kinds", 1, 0, 'k'},
        {"commands", 0, 0, 'C'}, {"ramp", 1, 0, 'R'},      {0, 0, 0, 0}};
    for (int o; (o = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (o) {
        case 'p': opt.port = atoi(optarg); break;
        case 'a': opt.path = optarg; break;
        case 'c': opt.connections = atoi(optarg); break;
        case 'l': opt.pipeline = atoi(optarg); break;
        case 's': opt.seconds = atof(optarg); break;
        case 'n':
            opt.requests = strtoull(optarg, NULL, 10);
            opt.seconds = 600;
            break;
        case 'r': opt.rate = atof(optarg); break;
        case 'R': opt.ramp = atof(optarg); break;
        case 'x': opt.reconnect = true; break;
        case 'm': opt.method = optarg; break;
        case 'b': opt.body = optarg; break;
        case 'h': opt.header = optarg; break;
        case 'k': opt.kinds_file = optarg; break;
        case 'C': opt.commands = true; break;
        default: usage();
        }
    }
    if (opt.port <= 0 || opt.connections < 1 || opt.connections > MOST_CONNECTIONS ||
        opt.pipeline < 1 || opt.pipeline > MOST_PIPELINE || opt.seconds <= 0 || opt.ramp < 0) {
        usage();
    }
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void obey(void)
{
    char line[128];
    double rate;
    opt.rate = 0;
    load_open_all();
    load_settle();
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        if (strcmp(line, "reconnect\n") == 0) {
            load_open_all();
            load_settle();
            puts("ready");
            fflush(stdout);
        } else if (sscanf(line, "%lf %lf %lf", &opt.seconds, &opt.ramp, &rate) == 3) {
            double before = cpu_seconds();
            load_settle();
            opt.rate = rate;
            load_interval();
            load_report(cpu_seconds() - before);
            opt.rate = 0;
        }
    }
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    prepare();
    load_init();
    if (opt.commands) {
        obey();
    } else {
        load_open_all();
        load_interval();
        load_report(cpu_seconds());
    }
    return 0;
}

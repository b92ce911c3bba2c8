/* SPDX-License-Identifier: MIT
 * oarlock: the only file that knows both sides. Reads the options, finds the interpreter, and hands
 * the master the functions that run in its children. Process: master. Owns the configuration for
 * the life of all processes. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <sys/random.h>

#include "master/master.h"
#include "master/tools.h"
#include "oarlock/log.h"
#include "oarlock/version.h"
#include "worker/worker.h"

extern char **environ;

static struct oar_config config;
static struct oar_bridge bridge;
static uint32_t hash_seed; /* one for all processes of a generation */
static int cpu_count;

static int worker_entry(const struct oar_worker_args *args)
{
    return oar_worker_run(args, &bridge, hash_seed, cpu_count);
}

static int loader_entry(const struct oar_config *cfg, int fd)
{
    return oar_loader_run(cfg, &bridge, hash_seed, cpu_count, fd);
}

/* "auto": processes with the GIL, threads without. */
static void resolve_auto(void)
{
    cpu_count = oar_cpu_share();
    if (config.workers == 0) {
        config.workers = bridge.free_threaded ? 1 : cpu_count;
    }
    if (config.threads == 0) {
        config.threads = bridge.free_threaded ? OAR_MAX(cpu_count / (int)config.workers, 1) : 1;
    }
}

static int serve_or_list(void)
{
    struct oar_err err;
    struct oar_master_args args = {&config, loader_entry, worker_entry};
    if (oar_bridge_find(&config, &bridge, &err) != OAR_OK) {
        oar_log(OAR_LOG_ERROR, "%s", err.text);
        return 1;
    }
    if (getrandom(&hash_seed, sizeof hash_seed, 0) != sizeof hash_seed) {
        hash_seed = (uint32_t)getpid() * 2654435761u;
    }
    resolve_auto();
    return config.command == OAR_CMD_RUN ? oar_master_run(&args) : oar_master_routes(&args);
}

_Static_assert((int)OAR_LEVEL_DEBUG == OAR_LOG_DEBUG && (int)OAR_LEVEL_INFO == OAR_LOG_INFO &&
                   (int)OAR_LEVEL_WARNING == OAR_LOG_WARNING &&
                   (int)OAR_LEVEL_ERROR == OAR_LOG_ERROR,
               "--log-level names the levels in the log's order");

static void warn_of_unknown_variables(void)
{
    char text[300];
    for (size_t at = 0; oar_config_unknown(environ, &at, text, sizeof text);) {
        oar_log(OAR_LOG_WARNING, "%s", text);
    }
}

/* Where one of these is closed, the next descriptor would take its place, and what the application
 * prints would go into a pipe or socket of the server's. */
static void fill_standard_descriptors(void)
{
    int fd = STDIN_FILENO;
    while (fd >= 0 && fd <= STDERR_FILENO) {
        fd = open("/dev/null", O_RDWR); /* the lowest that is free */
    }
    if (fd > STDERR_FILENO) {
        close(fd);
    }
}

int main(int argc, char **argv)
{
    struct oar_err err;
    int status = 0;
    fill_standard_descriptors();
    oar_log_init("master", OAR_LOG_INFO);
    if (argc > 1 && oar_tools_has(argv[1])) {
        oar_tools_exec(argv, &err); /* returns only when it failed */
        fprintf(stderr, "oarlock: %s\n", err.text);
        return 1;
    }
    if (oar_config_parse(&config, argc, argv, environ, &err) != OAR_OK) {
        fprintf(stderr, "oarlock: %s\n", err.text);
        return 2;
    }
    oar_log_init("master", (enum oar_log_level)config.log_level);
    warn_of_unknown_variables();
    switch (config.command) {
    case OAR_CMD_RUN: status = serve_or_list(); break;
    case OAR_CMD_ROUTES:
        status = config.live ? oar_master_live((int)config.live) : serve_or_list();
        break;
    case OAR_CMD_HELP: oar_config_help(STDOUT_FILENO); break;
    case OAR_CMD_VERSION: puts("oarlock " OAR_VERSION); break;
    case OAR_CMD_OPTIONS_DOC: oar_config_markdown(STDOUT_FILENO); break;
    }
    return status;
}

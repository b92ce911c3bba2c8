/* SPDX-License-Identifier: MIT
 * The option table. One row gives the command-line parser, OARLOCK_* in the environment, --help and
 * docs/options.md. struct oar_config is plain data, filled once by the master before any fork. */
#ifndef OARLOCK_CONFIG_H
#define OARLOCK_CONFIG_H

#include "oarlock/err.h"
#include "oarlock/option_kinds.h"

/* OPTION(kind, field, flag, default, least, most, metavar or words, group, help) */
/* clang-format off */
#define OAR_OPTIONS(OPTION)                                                                        \
    OPTION(LIST, bind, "bind", "127.0.0.1:8000", 0, 0, "ADDR", "Listening",                        \
           "HOST:PORT, [IPV6]:PORT, unix:PATH or fd:N (inherited, listening); may be repeated")    \
    OPTION(INT, backlog, "backlog", "2048", 1, 65535, "N", "Listening",                            \
           "connections that the kernel queues before they are accepted")                          \
    OPTION(STR, unix_mode, "unix-mode", "666", 0, 0, "MODE", "Listening",                          \
           "permissions of unix sockets, in octal")                                                \
    OPTION(STR, unix_owner, "unix-owner", "", 0, 0, "USER[:GROUP]", "Listening",                   \
           "owner of unix sockets (default: who starts the server)")                               \
    OPTION(CHOICE, proxy_headers, "proxy-headers", "off", 0, 0,                                    \
           (3, OAR_FORWARDED, OFF, "off", X, "x-forwarded", RFC7239, "forwarded"),                 \
           "Proxies", "fields in which trusted proxies say who the client is")                     \
    OPTION(STR, proxy_fields, "proxy-fields", "for,proto", 0, 0, "LIST", "Proxies",                \
           "what is believed of them: for (the client), proto (the scheme), host; separated by commas") \
    OPTION(STR, trusted_proxies, "trusted-proxies", "127.0.0.1,::1,unix", 0, 0, "LIST",            \
           "Proxies", "addresses and networks (CIDR) of proxies, separated by commas; *: everybody") \
    OPTION(FLAG, proxy_protocol, "proxy-protocol", "", 0, 0, "", "Proxies",                        \
           "every connection begins with a PROXY protocol header, from a trusted proxy")           \
    OPTION(AUTO, workers, "workers", "auto", 1, OAR_MAX_WORKERS, "N|auto", "Processes",            \
           "worker processes; auto: the container's share of cores with the GIL, 1 without")       \
    OPTION(AUTO, threads, "threads", "auto", 1, OAR_MAX_THREADS, "N|auto", "Processes",            \
           "event-loop threads in each worker; auto: 1 with the GIL, the share of cores without")  \
    OPTION(AUTO, pool_threads, "pool-threads", "auto", 1, 1024, "N|auto", "Processes",             \
           "threads in each worker for `def` handlers that may block; auto: 4 a core, 40 if they wait")   \
    OPTION(INT, pool_queue, "pool-queue", "1024", 1, 1000000, "N", "Processes",                    \
           "calls that may wait for a pool thread in each worker; more are answered 503")          \
    OPTION(INT, restart_limit, "restart-limit", "10", 0, 1000000, "N", "Processes",                \
           "failed starts of a worker in a row, while none serves, that end the server; 0: no end") \
    OPTION(TIME, blocking_threshold, "blocking-threshold", "1ms", 0, 3600, "TIME", "Processes",    \
           "a `def` that took longer goes to the pool; always under a quarter: to the event loop; 0: pool") \
    OPTION(TIME, switch_interval, "switch-interval", "1ms", 0, 1, "TIME", "Processes",             \
           "how long a pool thread may keep the GIL while others wait; 0: Python's own 5 ms")      \
    OPTION(STR, loop, "loop", "oarlock", 0, 0, "oarlock|stock", "Processes",                       \
           "asyncio's event loop: with its hot half in C, or asyncio's own; HTTP is the same")     \
    OPTION(STR, gil, "gil", "warn", 0, 0, "require-off|warn|allow", "Application",                 \
           "a module that turns the GIL on, on the free-threaded interpreter: refuse, warn, or nothing") \
    OPTION(STR, python, "python", "gil", 0, 0, "gil|ft|PATH", "Application",                       \
           "interpreter: the one with the GIL, the free-threaded one, or a python executable")     \
    OPTION(STR, venv, "venv", "", 0, 0, "DIR", "Application",                                      \
           "virtual environment whose packages the application uses (default: $VIRTUAL_ENV)")      \
    OPTION(STR, app_dir, "app-dir", ".", 0, 0, "DIR", "Application",                               \
           "folder that is put in front of sys.path")                                              \
    OPTION(FLAG, factory, "factory", "", 0, 0, "", "Application",                                  \
           "the attribute is a function without arguments that returns the App")                   \
    OPTION(CHOICE, route_order, "route-order", "specific", 0, 0,                                   \
           (2, OAR_ROUTE_ORDER, SPECIFIC, "specific", REGISTRATION, "registration"),               \
           "Application", "which of two matching routes wins: the more specific or the earlier")   \
    OPTION(FLAG, allow_duplicates, "allow-duplicate-routes", "", 0, 0, "", "Application",          \
           "keep the first of two routes with the same path and method instead of refusing")       \
    OPTION(FLAG, stub, "stub", "", 0, 0, "", "Application",                                        \
           "serve GET /hello from C, with no Python in any process: the ceiling for benchmarks")   \
    OPTION(TIME, load_timeout, "load-timeout", "60s", 0, 86400, "TIME", "Deadlines",               \
           "time for importing the application, in the loader and in each worker; 0: no limit")     \
    OPTION(TIME, head_timeout, "head-timeout", "20s", 0, 86400, "TIME", "Deadlines",               \
           "time for a request's head, from its first byte to its last; 0: no limit")               \
    OPTION(TIME, body_timeout, "body-timeout", "60s", 0, 86400, "TIME", "Deadlines",               \
           "time for a request's body, from the end of its head; longer while it keeps --min-rate; 0: no limit") \
    OPTION(TIME, handler_timeout, "handler-timeout", "0", 0, 86400, "TIME", "Deadlines",           \
           "time until a handler has its response; then 504, and the handler is cancelled; 0: no limit") \
    OPTION(TIME, write_timeout, "write-timeout", "60s", 0, 86400, "TIME", "Deadlines",             \
           "time in which the client must take a response; longer while it keeps --min-rate; 0: no limit") \
    OPTION(SIZE, min_rate, "min-rate", "1k", 0, (int64_t)1 << 30, "SIZE", "Deadlines",             \
           "bytes a second, over a --body-timeout or --write-timeout, that renew it; 0: never")    \
    OPTION(TIME, keep_alive, "keep-alive", "75s", 0, 86400, "TIME", "Deadlines",                   \
           "time that a connection may be idle between requests; 0: closed behind each response")   \
    OPTION(TIME, graceful_timeout, "graceful-timeout", "20s", 0, 86400, "TIME", "Deadlines",       \
           "time for requests in progress when the server stops; then they are cut; 0: at once")    \
    OPTION(TIME, drain_delay, "drain-delay", "0", 0, 3600, "TIME", "Deadlines",                    \
           "time after SIGTERM in which new connections are still served, for load balancers")     \
    OPTION(SIZE, max_head, "max-head", "16k", 256, 1 << 20, "SIZE", "Limits",                      \
           "bytes of a request's head; more is answered 431")                                      \
    OPTION(INT, max_fields, "max-fields", "100", 1, OAR_MAX_FIELDS, "N", "Limits",                 \
           "header fields of a request; more is answered 431")                                     \
    OPTION(SIZE, max_target, "max-target", "8k", 16, 1 << 20, "SIZE", "Limits",                    \
           "bytes of a request's target; more is answered 414")                                    \
    OPTION(SIZE, max_body, "max-body", "8m", 0, (int64_t)1 << 40, "SIZE", "Limits",                \
           "bytes of a request's body, unless its route has a max_body; more is answered 413")     \
    OPTION(SIZE, max_buffered, "max-buffered", "256m", 1024, (int64_t)1 << 50, "SIZE", "Limits",   \
           "bytes of bodies that each worker holds at once; a body beyond is answered 503")        \
    OPTION(SIZE, max_connection_memory, "max-connection-memory", "256k", 4096, 1 << 30, "SIZE",    \
           "Limits", "bytes of requests and responses that wait in one connection; then it waits") \
    OPTION(INT, max_pipeline, "max-pipeline", "64", 1, OAR_MAX_PIPELINE, "N", "Limits",            \
           "requests of one connection that are read ahead of their turn")                         \
    OPTION(INT, max_in_flight, "max-in-flight", "4096", 1, 1000000, "N", "Limits",                 \
           "requests in progress in each worker; more are answered 503 with Retry-After")          \
    OPTION(INT, max_connections, "max-connections", "16384", 1, 1000000, "N", "Limits",            \
           "connections open in each worker; more wait in the kernel's queue")                     \
    OPTION(CHOICE, log_level, "log-level", "info", 0, 0,                                           \
           (4, OAR_LEVEL, DEBUG, "debug", INFO, "info", WARNING, "warning", ERROR, "error"),       \
           "Output", "least level that is logged")                                                           \
    OPTION(INT, live, "live", "0", 0, 1 << 22, "PID", "Output",                                    \
           "with `routes`: those of the running server with this process id, and where they run")  \
    OPTION(CHOICE, server_timing, "server-timing", "off", 0, 0,                                    \
           (3, OAR_TIMING, OFF, "off", ASKED, "asked", ALL, "all"), "Output",                      \
           "say where a response's time went, in Server-Timing; asked: if the request has Oarlock-Timing") \
    OPTION(FLAG, debug, "debug", "", 0, 0, "", "Output",                                           \
           "put tracebacks into 500 responses; never on a network that others reach")              \
    OPTION(INT, ready_fd, "ready-fd", "-1", -1, 1 << 20, "FD", "Output",                           \
           "descriptor on which the line \"it serves\" is also written (for tests and tools)")
/* clang-format on */

/* An enum for each CHOICE: enum oar_proxy_headers_choice { OAR_FORWARDED_OFF, ... }. */
#define OAR_ROW(kind, field, flag, fallback, least, most, words, ...) OAR_ENUM_##kind(field, words)
OAR_OPTIONS(OAR_ROW)
#undef OAR_ROW

enum oar_command {
    OAR_CMD_RUN,
    OAR_CMD_ROUTES,
    OAR_CMD_HELP,
    OAR_CMD_VERSION,
    OAR_CMD_OPTIONS_DOC
};

struct oar_config {
    enum oar_command command;
    const char *target; /* "module:attribute"; NULL with --stub */
#define OAR_FIELD(kind, field, ...) OAR_CTYPE_##kind field;
    OAR_OPTIONS(OAR_FIELD)
#undef OAR_FIELD
};

/* Reads defaults, then the environment, then argv. Text is borrowed from argv and environ. */
enum oar_status oar_config_parse(struct oar_config *cfg, int argc, char **argv, char **environ_,
                                 struct oar_err *err);
/* The next OARLOCK_* from environ_[*at] on that is no option, as a warning; false: no more. */
bool oar_config_unknown(char **environ_, size_t *at, char *text, size_t room);
struct oar_forwarding {
    enum oar_proxy_headers_choice which;
    bool client, scheme, host; /* which parts are believed */
};
/* What --proxy-headers and --proxy-fields say. */
struct oar_forwarding oar_config_forwarded(const struct oar_config *cfg);
/* Logs a warning for each deadline that is switched off with 0 and that protects the server. */
void oar_config_warn(const struct oar_config *cfg);
/* Writes --help, or the Markdown of docs/options.md, to the descriptor. */
void oar_config_help(int fd);
void oar_config_markdown(int fd);

#endif

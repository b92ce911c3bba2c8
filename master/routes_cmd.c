/* SPDX-License-Identifier: MIT
 * `oarlock routes`: loads the application, compiles its routes, prints the table.
 * Process: master of a short life; it forks the loader and nothing else. Owns the loader's pipe.
 * Never opens a socket. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "master/loader.h"
#include "master/master.h"
#include "oarlock/log.h"
#include "oarlock/route.h"
#include "shared/clock.h"

static void nothing(void *unused)
{
    (void)unused;
}

static enum oar_status collect(struct oar_loader *l, const struct oar_config *config,
                               struct oar_err *err)
{
    const double FOR_EVER = 1e6; /* seconds; --load-timeout 0 is no limit */
    double limit = config->load_timeout > 0 ? config->load_timeout : FOR_EVER;
    uint64_t end = oar_now_ns() + (uint64_t)(limit * 1e9);
    enum oar_status status = OAR_AGAIN;
    while (status == OAR_AGAIN) {
        struct pollfd fd = {.fd = l->fd, .events = POLLIN};
        uint64_t now = oar_now_ns();
        if (now >= end) {
            return oar_err_set(err, "importing %s took longer than --load-timeout (%g s)",
                               config->target, config->load_timeout);
        }
        poll(&fd, 1, (int)OAR_MIN((end - now) / 1000000 + 1, 100)); /* a loader may end unheard */
        status = oar_loader_read(l, err);
    }
    return status;
}

static void print_route(struct oar_buf *out, const void *table, const struct oar_rt_route *r,
                        int path_width)
{
    char methods[80] = "";
    size_t n = 0;
    for (int m = 0; m < OAR_METHODS; m++) {
        if (r->methods & 1u << m) {
            n += (size_t)snprintf(methods + n, sizeof methods - n, "%s%s", n ? "," : "",
                                  oar_method_names[m].ptr);
        }
    }
    static const char *const pins[] = {"", " blocking=False", " blocking=True"};
    oar_buf_printf(out, "%-12s %-*s %-5s %s  (%s)%s\n", methods, path_width,
                   oar_rt_text(table, r->path_off), r->kind == OAR_HANDLER_ASYNC ? "async" : "def",
                   oar_rt_text(table, r->name_off), oar_rt_text(table, r->source_off),
                   pins[r->blocking]);
}

static void print_table(const void *table)
{
    const struct oar_rt_header *h = table;
    struct oar_buf out = {0};
    int width = 4;
    for (uint32_t i = 0; i < h->n_routes; i++) {
        width = OAR_MAX(width, OAR_MIN(60, (int)oar_rt_routes(table)[i].path_len));
    }
    oar_buf_printf(&out, "%-12s %-*s %-5s %s\n", "METHODS", width, "PATH", "KIND", "HANDLER");
    for (uint32_t i = 0; i < h->n_routes; i++) {
        print_route(&out, table, &oar_rt_routes(table)[i], width);
    }
    oar_buf_printf(&out, "%u routes, %u bytes; order: %s; the other trailing slash %s\n",
                   h->n_routes, h->size,
                   h->flags & OAR_RT_REGISTRATION_ORDER ? "registration" : "specific",
                   h->flags & OAR_RT_REDIRECT_SLASHES ? "redirects (307)" : "is not found");
    fwrite(out.data, 1, out.len, stdout);
    fflush(stdout);
    oar_buf_free(&out);
}

int oar_master_routes(const struct oar_master_args *args)
{
    struct oar_loader loader;
    struct oar_err err;
    const void *routes = NULL;
    char runtime[128];
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* of what the application starts in the loader */
    enum oar_status status =
        oar_loader_start(&loader, args->config, args->loader, nothing, NULL, &err);
    if (status == OAR_OK) {
        status = collect(&loader, args->config, &err);
    }
    if (status == OAR_OK) {
        status = oar_loader_compile(&loader, args->config, &routes, runtime, sizeof runtime, &err);
    }
    if (status == OAR_OK) {
        print_table(routes);
    } else {
        oar_log(OAR_LOG_ERROR, "%s", err.text);
    }
    oar_loader_end(&loader);
    oar_loader_free(&loader);
    return status == OAR_OK ? 0 : 1;
}

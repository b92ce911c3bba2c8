/* SPDX-License-Identifier: MIT
 * The application without Python: GET /hello answers {"message":"hello"}. It is the ceiling in
 * benchmarks and the handler in tests and fuzzing of the event loop. Process: worker of `oarlock
 * run --stub`. Owns nothing. Never waits. */
#include <stdlib.h>

#include "worker/app.h"

struct stub_thread {
    const struct oar_host *host;
    struct oar_thread *thread;
};
static const struct oar_host *stub_host;

static enum oar_status stub_describe(const struct oar_app_args *args, char **manifest,
                                     struct oar_err *err)
{
    (void)args;
    *manifest = strdup("{\"version\":1,\"redirect_slashes\":true,\"routes\":[{\"path\":\"/hello\","
                       "\"name\":\"hello\",\"source\":\"worker/stub.c:1\",\"methods\":[\"GET\"],"
                       "\"kind\":\"def\",\"blocking\":\"no\",\"params\":[]}]}");
    return *manifest ? OAR_OK : oar_err_set(err, "no memory for the stub's manifest");
}

static enum oar_status stub_start(const struct oar_app_args *args, struct oar_err *err)
{
    (void)err;
    stub_host = args->host;
    return OAR_OK;
}

static enum oar_status stub_thread_start(struct oar_thread *t, int index, void **state,
                                         struct oar_err *err)
{
    struct stub_thread *s = malloc(sizeof *s);
    (void)index;
    if (!s) {
        return oar_err_set(err, "no memory for a thread of the stub");
    }
    *s = (struct stub_thread){stub_host, t};
    *state = s;
    return OAR_OK;
}

static void stub_thread_run(void *state)
{
    struct stub_thread *s = state;
    while (!s->host->stopping(s->thread)) {
        s->host->poll(s->thread, -1, NULL, 0);
    }
}

static void stub_thread_stop(void *state)
{
    free(state);
}

static void stub_stop(void)
{
}

static enum oar_call stub_call(void *state, struct oar_request *r)
{
    (void)state;
    r->response.status = 200;
    r->response.type = OAR_LIT("application/json");
    r->response.body = OAR_LIT("{\"message\":\"hello\"}");
    return OAR_CALL_DONE;
}

const struct oar_app *oar_stub_app(void)
{
    static const struct oar_app app = {
        .abi = 0,
        .runtime = "no Python",
        .flavour = "(stub)",
        .version = "",
        .python = "",
        .free_threaded = false,
        .describe = stub_describe,
        .start = stub_start,
        .thread_start = stub_thread_start,
        .thread_run = stub_thread_run,
        .thread_stop = stub_thread_stop,
        .stop = stub_stop,
        .call = stub_call,
    };
    return &app;
}

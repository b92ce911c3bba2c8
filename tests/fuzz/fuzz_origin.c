/* SPDX-License-Identifier: MIT
 * Fuzzes who is speaking: the PROXY protocol's header, and the value of Forwarded and
 * X-Forwarded-*. Holds: a header is taken with no more bytes than there are, more bytes never change
 * a verdict, and a host that is named lies in the field and is one. */
#include "tests/fuzz/fuzz.h"

#include "shared/err.c"
#include "shared/peer.c"
#include "worker/forwarded.c"
#include "worker/http_gate.c"
#include "worker/proxy_protocol.c"

static void proxy(const char *bytes, size_t size)
{
    struct oar_peer all = {.family = AF_UNIX};
    size_t used = 0;
    enum oar_parse_result whole = oar_proxy_parse(bytes, size, &all, &used);
    MUST(whole != OAR_PARSE_MESSAGE || (used > 0 && used <= size));
    for (size_t n = 0; n < size && n < 300; n++) {
        char *copy = malloc(n + 1);
        struct oar_peer some = {.family = AF_UNIX};
        size_t some_used = 0;
        MUST(copy);
        memcpy(copy, bytes, n);
        enum oar_parse_result part = oar_proxy_parse(copy, n, &some, &some_used);
        free(copy);
        MUST(part == OAR_PARSE_MORE || part == whole);
        MUST(part != OAR_PARSE_MESSAGE ||
             (some_used == used && memcmp(&some, &all, sizeof all) == 0));
    }
}

static void fields(const char *bytes, size_t size)
{
    static const char *const names[] = {"forwarded", "x-forwarded-for", "x-forwarded-proto",
                                        "x-forwarded-host"};
    struct oar_field at[8];
    struct oar_err err;
    struct oar_networks trusted;
    const struct oar_peer peer = {.family = AF_INET, .address = {10, 0, 0, 1}};
    char *head = malloc(64 + size);
    struct oar_request r = {.head = head, .fields = at};
    uint32_t names_len = 0;
    MUST(head);
    MUST(oar_networks_parse("10.0.0.0/8,::1", "--x", &trusted, &err) == OAR_OK);
    for (size_t i = 0; i < OAR_ARRAY_LEN(names); i++) {
        memcpy(head + names_len, names[i], strlen(names[i]));
        at[i] = (struct oar_field){.name_off = names_len, .name_len = (uint16_t)strlen(names[i])};
        names_len += at[i].name_len;
    }
    memcpy(head + names_len, bytes, size);
    for (size_t i = 0; i < OAR_ARRAY_LEN(names); i++) { /* each gets a part, lines apart */
        size_t from = size * i / 4, to = size * (i + 1) / 4;
        at[i].value_off = names_len + (uint32_t)from;
        at[i].value_len = (uint32_t)(to - from);
        at[i + 4] = at[i];
    }
    r.n_fields = 8;
    for (int which = OAR_FORWARDED_OFF; which <= OAR_FORWARDED_RFC7239; which++) {
        struct oar_origin out;
        struct oar_forwarding how = {(enum oar_proxy_headers_choice)which, true, true, true};
        oar_forwarded(how, &trusted, &peer, &r, &out);
        /* nobody, or a client; never one of the proxies */
        MUST(out.peer.family == 0 || out.peer.family == AF_INET || out.peer.family == AF_INET6);
        MUST(which == OAR_FORWARDED_OFF || !oar_networks_have(&trusted, &out.peer));
        MUST(out.host.len == 0 ||
             (out.host.ptr >= head + names_len &&
              out.host.ptr + out.host.len <= head + names_len + size &&
              oar_host_span(out.host.ptr, out.host.ptr + out.host.len) == out.host.len));
    }
    free(head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    proxy((const char *)data, size);
    fields((const char *)data, size);
    return 0;
}

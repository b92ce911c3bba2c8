/* SPDX-License-Identifier: MIT
 * Addresses as text and sets of networks (CIDR, RFC 4632).
 * Process: master (to refuse a wrong option early) and worker. Owns nothing. Never resolves a name:
 * who is trusted must not depend on somebody else's DNS. */
#include "shared/peer.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

bool oar_port_parse(struct oar_slice text, uint16_t *out)
{
    unsigned n = 0;
    bool ok = text.len > 0 && text.len <= 5;
    for (size_t i = 0; ok && i < text.len; i++) {
        ok = text.ptr[i] >= '0' && text.ptr[i] <= '9';
        n = n * 10 + (unsigned)(text.ptr[i] - '0');
    }
    *out = (uint16_t)n;
    return ok && n <= UINT16_MAX;
}

void oar_peer_unmap(struct oar_peer *p)
{
    static const uint8_t prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (p->family == AF_INET6 && memcmp(p->address, prefix, sizeof prefix) == 0) {
        p->family = AF_INET;
        memmove(p->address, p->address + 12, 4);
        memset(p->address + 4, 0, 12);
    }
}

bool oar_peer_parse(struct oar_slice text, struct oar_peer *out)
{
    char host[INET6_ADDRSTRLEN + 1];
    const char *end = text.ptr + text.len;
    const char *from = text.ptr;
    const char *colon = memchr(text.ptr, ':', text.len);
    bool one_colon = colon && !memchr(colon + 1, ':', (size_t)(end - colon - 1));
    const char *to = one_colon ? colon : end;
    *out = (struct oar_peer){0};
    if (text.len > 0 && *from == '[') {
        from++;
        to = memchr(from, ']', (size_t)(end - from));
        colon = to ? to + 1 : NULL;
        one_colon = colon && colon < end && *colon == ':';
        if (!to || (colon < end && !one_colon)) {
            return false;
        }
    }
    size_t len = (size_t)(to - from);
    if (len == 0 || len >= sizeof host ||
        (one_colon &&
         !oar_port_parse((struct oar_slice){colon + 1, (size_t)(end - colon - 1)}, &out->port))) {
        return false;
    }
    memcpy(host, from, len);
    host[len] = '\0';
    if (strlen(host) != len) {
        return false;
    }
    out->family = inet_pton(AF_INET, host, out->address) == 1    ? AF_INET
                  : inet_pton(AF_INET6, host, out->address) == 1 ? AF_INET6
                                                                 : 0;
    oar_peer_unmap(out);
    return out->family != 0;
}

static bool parse_network(struct oar_slice text, struct oar_networks *out)
{
    const char *slash = memchr(text.ptr, '/', text.len);
    struct oar_slice host = {text.ptr, slash ? (size_t)(slash - text.ptr) : text.len};
    struct oar_peer peer;
    uint16_t bits = 0;
    if (oar_slice_eq(text, OAR_LIT("unix"))) {
        out->unix_too = true;
        return true;
    }
    if (oar_slice_eq(text, OAR_LIT("*"))) {
        out->all = true;
        return true;
    }
    if (!oar_peer_parse(host, &peer) || peer.port != 0 || out->count == OAR_MAX_NETWORKS) {
        return false;
    }
    unsigned most = peer.family == AF_INET ? 32 : 128;
    bool ok =
        !slash || oar_port_parse((struct oar_slice){slash + 1, text.len - host.len - 1}, &bits);
    bits = slash ? bits : (uint16_t)most;
    if (!ok || bits > most) {
        return false;
    }
    out->at[out->count].family = peer.family;
    out->at[out->count].bits = (uint8_t)bits;
    memcpy(out->at[out->count].address, peer.address, sizeof peer.address);
    out->count++;
    return true;
}

enum oar_status oar_networks_parse(const char *text, const char *option, struct oar_networks *out,
                                   struct oar_err *err)
{
    *out = (struct oar_networks){0};
    while (*text) {
        size_t len = strcspn(text, ",");
        size_t lead = strspn(text, " ");
        struct oar_slice entry = {text + OAR_MIN(lead, len), len - OAR_MIN(lead, len)};
        while (entry.len > 0 && entry.ptr[entry.len - 1] == ' ') {
            entry.len--;
        }
        if (entry.len > 0 && !parse_network(entry, out)) {
            return oar_err_set(err,
                               "%s: '%.*s' is no address or network; give at most %d like "
                               "10.0.0.0/8, 192.0.2.1, ::1, unix (unix sockets) or * (everybody)",
                               option, OAR_FMT(entry), OAR_MAX_NETWORKS);
        }
        text += len + (text[len] == ',');
    }
    return OAR_OK;
}

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8;
    unsigned rest = bits % 8;
    return memcmp(a, b, whole) == 0 && (rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0);
}

bool oar_networks_have(const struct oar_networks *set, const struct oar_peer *peer)
{
    bool found = set->all || (set->unix_too && peer->family == AF_UNIX);
    for (int i = 0; !found && i < set->count; i++) {
        found = set->at[i].family == peer->family &&
                same_bits(set->at[i].address, peer->address, set->at[i].bits);
    }
    return found;
}

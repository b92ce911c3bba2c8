/* SPDX-License-Identifier: MIT
 * The client that trusted proxies speak for: X-Forwarded-For, -Proto, -Host, or Forwarded (RFC
 * 7239), one of the two and never both, because a proxy that writes the one passes the other on as
 * the client sent it. Process: worker, any thread. Owns nothing. Never believes a hop that a proxy
 * it does not trust has written: hops are read from the nearest one, and reading stops behind the
 * first that is not trusted. Bounded: the nearest MAX_HOPS elements count. */
#include <strings.h>
#include <sys/socket.h>

#include "worker/origin.h"

enum { MAX_HOPS = 32 };

/* The last elements of a list that may be spread over several fields. */
struct hops {
    struct oar_slice at[MAX_HOPS]; /* ring */
    unsigned seen;
};

static struct oar_slice trim(struct oar_slice s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t')) {
        s.len--;
    }
    return s;
}

/* Up to the separator that stands outside of quotes; the rest stays in `from`. */
static struct oar_slice cut(struct oar_slice *from, char separator)
{
    bool quoted = false;
    size_t i = 0;
    for (; i < from->len && (quoted || from->ptr[i] != separator); i++) {
        if (quoted && from->ptr[i] == '\\') {
            i += i + 1 < from->len;
        } else if (from->ptr[i] == '"') {
            quoted = !quoted;
        }
    }
    struct oar_slice piece = {from->ptr, OAR_MIN(i, from->len)};
    size_t skip = OAR_MIN(i + 1, from->len);
    *from = (struct oar_slice){from->ptr + skip, from->len - skip};
    return trim(piece);
}

static void collect(const struct oar_request *r, const char *name, struct hops *out)
{
    size_t name_len = strlen(name);
    out->seen = 0;
    for (uint32_t i = 0; i < r->n_fields; i++) {
        const struct oar_field *f = &r->fields[i];
        if (f->name_len != name_len || !oar_is_name(r->head + f->name_off, name, name_len)) {
            continue;
        }
        struct oar_slice rest = {r->head + f->value_off, f->value_len};
        while (rest.len > 0) {
            out->at[out->seen++ % MAX_HOPS] = cut(&rest, ',');
        }
    }
}

static unsigned count(const struct hops *h)
{
    return OAR_MIN(h->seen, (unsigned)MAX_HOPS);
}

/* Counted from the nearest, which is the last of the list. */
static struct oar_slice hop(const struct hops *h, unsigned distance)
{
    return h->at[(h->seen - 1 - distance) % MAX_HOPS];
}

static struct oar_slice unquote(struct oar_slice s)
{
    if (s.len >= 2 && s.ptr[0] == '"' && s.ptr[s.len - 1] == '"') {
        s.ptr++;
        s.len -= 2;
    }
    return s;
}

static void set_scheme(struct oar_origin *out, struct oar_slice scheme)
{
    if (scheme.len == 5 && strncasecmp(scheme.ptr, "https", 5) == 0) {
        out->https = true;
    } else if (scheme.len == 4 && strncasecmp(scheme.ptr, "http", 4) == 0) {
        out->https = false;
    }
}

static void set_host(struct oar_origin *out, struct oar_slice host)
{
    if (host.len > 0 && oar_host_span(host.ptr, host.ptr + host.len) == host.len) {
        out->host = host;
    }
}

/* The value of a list that may have fewer elements than there are hops: a proxy that sets it once
 * leaves one. */
static struct oar_slice of_hop(const struct hops *list, unsigned distance)
{
    return count(list) ? hop(list, OAR_MIN(distance, count(list) - 1)) : (struct oar_slice){"", 0};
}

static void from_x(const struct oar_networks *trusted, const struct oar_request *r,
                   struct oar_origin *out)
{
    struct hops list;
    unsigned distance = 0;
    struct oar_peer next;
    collect(r, "x-forwarded-for", &list);
    while (distance < count(&list) && oar_networks_have(trusted, &out->peer) &&
           oar_peer_parse(hop(&list, distance), &next)) {
        out->peer = next;
        distance++;
    }
    distance = distance ? distance - 1 : 0;
    collect(r, "x-forwarded-proto", &list);
    set_scheme(out, of_hop(&list, distance));
    collect(r, "x-forwarded-host", &list);
    set_host(out, of_hop(&list, distance));
}

/* One element: for=, proto= and host= in any order. false: it does not say who. */
static bool read_element(struct oar_slice element, struct oar_origin *out)
{
    bool found = false;
    while (element.len > 0) {
        struct oar_slice value = cut(&element, ';');
        struct oar_slice name = cut(&value, '=');
        struct oar_peer peer;
        value = unquote(value);
        if (name.len == 3 && strncasecmp(name.ptr, "for", 3) == 0) {
            found = oar_peer_parse(value, &peer);
            out->peer = found ? peer : out->peer;
        } else if (name.len == 5 && strncasecmp(name.ptr, "proto", 5) == 0) {
            set_scheme(out, value);
        } else if (name.len == 4 && strncasecmp(name.ptr, "host", 4) == 0) {
            set_host(out, value);
        }
    }
    return found;
}

static void from_rfc7239(const struct oar_networks *trusted, const struct oar_request *r,
                         struct oar_origin *out)
{
    struct hops list;
    bool known = true;
    collect(r, "forwarded", &list);
    for (unsigned i = 0; known && i < count(&list) && oar_networks_have(trusted, &out->peer); i++) {
        known = read_element(hop(&list, i), out);
    }
}

/* The authority of a target in absolute form; empty: it has another form. */
static struct oar_slice target_host(const struct oar_request *r)
{
    struct oar_slice host = {"", 0};
    if (OAR_UNLIKELY(r->path_off > 0 && r->head[r->path_off - 1] != ' ')) {
        const char *end = r->head + r->head_len;
        const char *colon = memchr(r->head, ':', r->head_len); /* no method has one */
        if (colon && end - colon > 3) {
            host = (struct oar_slice){colon + 3, oar_host_span(colon + 3, end)};
        }
    }
    return host;
}

void oar_forwarded(enum oar_forwarded which, const struct oar_networks *trusted,
                   const struct oar_peer *peer, const struct oar_request *r, struct oar_origin *out)
{
    *out = (struct oar_origin){.peer = *peer, .host = target_host(r)};
    if (which == OAR_FORWARDED_OFF || !oar_networks_have(trusted, peer)) {
        return;
    }
    if (which == OAR_FORWARDED_X) {
        from_x(trusted, r, out);
    } else {
        from_rfc7239(trusted, r, out);
    }
}

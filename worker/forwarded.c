/* SPDX-License-Identifier: MIT
 * The client that trusted proxies speak for: X-Forwarded-For, -Proto, -Host, or Forwarded (RFC
 * 7239), one of the two and never both, because a proxy that writes the one passes the other on as
 * the client sent it. Process: worker, any thread. Owns nothing. Never believes a hop that a proxy
 * it does not trust has written: hops are read from the nearest one, and reading stops behind the
 * first that is not trusted. Never takes a proxy for the client: hops that end at a trusted address
 * name nobody. Bounded: the nearest MAX_HOPS elements count. */
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

/* Index of the first separator outside of quotes (RFC 9110 section 5.6.4); the length: none.
 * `*open`: the text ends inside of quotes. */
static size_t unquoted(struct oar_slice s, char separator, bool *open)
{
    bool quoted = false;
    size_t i = 0;
    for (; i < s.len && (quoted || s.ptr[i] != separator); i++) {
        if (quoted && s.ptr[i] == '\\') {
            i += i + 1 < s.len;
        } else if (s.ptr[i] == '"') {
            quoted = !quoted;
        }
    }
    *open = quoted;
    return OAR_MIN(i, s.len);
}

/* Up to the separator that stands outside of quotes; the rest stays in `from`. */
static struct oar_slice cut(struct oar_slice *from, char separator)
{
    bool open;
    struct oar_slice piece = {from->ptr, unquoted(*from, separator, &open)};
    size_t skip = OAR_MIN(piece.len + 1, from->len);
    *from = (struct oar_slice){from->ptr + skip, from->len - skip};
    return trim(piece);
}

/* The same where quotes mean nothing: X-Forwarded-*. */
static struct oar_slice cut_plain(struct oar_slice *from)
{
    const char *comma = memchr(from->ptr, ',', from->len);
    struct oar_slice piece = {from->ptr, comma ? (size_t)(comma - from->ptr) : from->len};
    size_t skip = OAR_MIN(piece.len + 1, from->len);
    *from = (struct oar_slice){from->ptr + skip, from->len - skip};
    return trim(piece);
}

/* A field that ends inside of quotes is one element that says nothing: quotes that a client has
 * left open must not make a part of its own text out of what a proxy has added behind. */
static void collect_quoted(struct oar_slice rest, struct hops *out)
{
    bool open = false;
    struct oar_slice whole = rest;
    while (whole.len > 0 && !open) {
        size_t skip = OAR_MIN(unquoted(whole, ',', &open) + 1, whole.len);
        whole = (struct oar_slice){whole.ptr + skip, whole.len - skip};
    }
    if (open) {
        out->at[out->seen++ % MAX_HOPS] = (struct oar_slice){"", 0};
        return;
    }
    while (rest.len > 0) {
        out->at[out->seen++ % MAX_HOPS] = cut(&rest, ',');
    }
}

static void collect(const struct oar_request *r, const char *name, bool quotes, struct hops *out)
{
    size_t name_len = strlen(name);
    out->seen = 0;
    for (uint32_t i = 0; i < r->n_fields; i++) {
        const struct oar_field *f = &r->fields[i];
        if (f->name_len != name_len || !oar_is_name(r->head + f->name_off, name, name_len)) {
            continue;
        }
        struct oar_slice rest = {r->head + f->value_off, f->value_len};
        if (quotes) {
            collect_quoted(rest, out);
            continue;
        }
        while (rest.len > 0) {
            out->at[out->seen++ % MAX_HOPS] = cut_plain(&rest);
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
    if (scheme.len == 5 && oar_same_letters(scheme.ptr, "https", 5)) {
        out->https = true;
    } else if (scheme.len == 4 && oar_same_letters(scheme.ptr, "http", 4)) {
        out->https = false;
    }
}

static void set_host(struct oar_origin *out, struct oar_slice host)
{
    if (host.len > 0 && oar_host_span(host.ptr, host.ptr + host.len) == host.len) {
        out->host = host;
    }
}

/* The value that belongs to the hop: of a list with an element for each hop, or of a field with one
 * element, which the nearest proxy has set or passed on. Empty: nobody can tell. */
static struct oar_slice of_hop(const struct hops *list, unsigned distance)
{
    struct oar_slice value = {"", 0};
    if (list->seen == 1) {
        value = hop(list, 0);
    } else if (distance < count(list)) {
        value = hop(list, distance);
    }
    return value;
}

/* The hops end at a proxy, whose address is not the client's: nobody is known. Who trusts every
 * address cannot tell proxies from clients: then the end of a list that was read whole counts. */
static void end_of_hops(const struct oar_networks *trusted, const struct hops *list, unsigned read,
                        struct oar_origin *out)
{
    bool whole = read > 0 && read == list->seen;
    if (oar_networks_have(trusted, &out->peer) && !(trusted->all && whole)) {
        out->peer = (struct oar_peer){0};
    }
}

static void from_x(struct oar_forwarding how, const struct oar_networks *trusted,
                   const struct oar_request *r, struct oar_origin *out)
{
    struct hops list;
    unsigned distance = 0;
    if (how.client) {
        struct oar_peer next;
        collect(r, "x-forwarded-for", false, &list);
        while (distance < count(&list) && oar_networks_have(trusted, &out->peer) &&
               oar_peer_parse(hop(&list, distance), &next)) {
            out->peer = next;
            distance++;
        }
        end_of_hops(trusted, &list, distance, out);
    }
    distance = distance ? distance - 1 : 0;
    if (how.scheme) {
        collect(r, "x-forwarded-proto", false, &list);
        set_scheme(out, of_hop(&list, distance));
    }
    if (how.host) {
        collect(r, "x-forwarded-host", false, &list);
        set_host(out, of_hop(&list, distance));
    }
}

/* One element: for=, proto= and host= in any order. false: it does not say who. */
static bool read_element(struct oar_forwarding how, struct oar_slice element,
                         struct oar_origin *out)
{
    bool found = false;
    while (element.len > 0) {
        struct oar_slice value = cut(&element, ';');
        struct oar_slice name = cut(&value, '=');
        struct oar_peer peer;
        value = unquote(value);
        if (how.client && name.len == 3 && oar_same_letters(name.ptr, "for", 3)) {
            found = oar_peer_parse(value, &peer);
            out->peer = found ? peer : out->peer;
        } else if (how.scheme && name.len == 5 && oar_same_letters(name.ptr, "proto", 5)) {
            set_scheme(out, value);
        } else if (how.host && name.len == 4 && oar_same_letters(name.ptr, "host", 4)) {
            set_host(out, value);
        }
    }
    return found;
}

static void from_rfc7239(struct oar_forwarding how, const struct oar_networks *trusted,
                         const struct oar_request *r, struct oar_origin *out)
{
    struct hops list;
    unsigned read = 0;
    bool known = true;
    collect(r, "forwarded", true, &list);
    for (unsigned i = 0; known && i < count(&list) && oar_networks_have(trusted, &out->peer); i++) {
        known = read_element(how, hop(&list, i), out);
        read += known;
    }
    if (how.client) {
        end_of_hops(trusted, &list, read, out);
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

void oar_forwarded(struct oar_forwarding how, const struct oar_networks *trusted,
                   const struct oar_peer *peer, const struct oar_request *r, struct oar_origin *out)
{
    *out = (struct oar_origin){.peer = *peer, .host = target_host(r)};
    if (how.which == OAR_FORWARDED_OFF || !oar_networks_have(trusted, peer)) {
        return;
    }
    if (how.which == OAR_FORWARDED_X) {
        from_x(how, trusted, r, out);
    } else {
        from_rfc7239(how, trusted, r, out);
    }
}

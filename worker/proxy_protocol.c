/* SPDX-License-Identifier: MIT
 * The PROXY protocol, versions 1 and 2 (HAProxy's specification proxy-protocol.txt, 2020/03/05):
 * who the client of the proxy is, said before its first byte. Process: worker, and the fuzz target.
 * Owns nothing, keeps nothing between calls. Never guesses: a connection that must begin with a
 * header and does not is refused (section 2 of the specification). */
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "worker/origin.h"

enum {
    V1_LONGEST = 107,  /* section 2.1, CRLF included */
    V2_LONGEST = 2048, /* of addresses and TLVs; senders use some 100 */
    V2_FIXED = 16
};

/* Takes the next word of the line; false: there is none, or not one space before it. */
static bool next_word(struct oar_slice *line, struct oar_slice *word)
{
    if (line->len < 2 || line->ptr[0] != ' ') {
        return false;
    }
    const char *start = line->ptr + 1;
    const char *end = line->ptr + line->len;
    const char *space = memchr(start, ' ', (size_t)(end - start));
    const char *stop = space ? space : end;
    *word = (struct oar_slice){start, (size_t)(stop - start)};
    *line = (struct oar_slice){stop, (size_t)(end - stop)};
    return word->len > 0;
}

/* Section 2.1: no zeros in front. */
static bool read_port(struct oar_slice word, uint16_t *out)
{
    return !(word.len > 1 && word.ptr[0] == '0') && oar_port_parse(word, out);
}

static bool read_address(struct oar_slice word, int family, uint8_t *out)
{
    char text[INET6_ADDRSTRLEN + 1];
    if (word.len >= sizeof text) {
        return false;
    }
    memcpy(text, word.ptr, word.len);
    text[word.len] = '\0';
    return strlen(text) == word.len && inet_pton(family, text, out) == 1;
}

/* "PROXY TCP4 source destination port port", without CRLF. */
static bool read_line(struct oar_slice line, struct oar_peer *peer)
{
    struct oar_peer from = {0};
    uint8_t to[16];
    uint16_t to_port;
    struct oar_slice family;
    struct oar_slice words[4];
    line.ptr += 5;
    line.len -= 5;
    bool ok = next_word(&line, &family);
    if (ok && oar_slice_eq(family, OAR_LIT("UNKNOWN"))) {
        *peer = from; /* section 2.1: the rest is ignored; the proxy's own address is no client's */
        return true;
    }
    for (int i = 0; ok && i < 4; i++) {
        ok = next_word(&line, &words[i]);
    }
    from.family = ok && oar_slice_eq(family, OAR_LIT("TCP4"))   ? AF_INET
                  : ok && oar_slice_eq(family, OAR_LIT("TCP6")) ? AF_INET6
                                                                : 0;
    ok = ok && from.family && line.len == 0 && read_address(words[0], from.family, from.address) &&
         read_address(words[1], from.family, to) && read_port(words[2], &from.port) &&
         read_port(words[3], &to_port);
    if (ok) {
        *peer = from;
    }
    return ok;
}

static enum oar_parse_result parse_v1(const char *bytes, size_t len, struct oar_peer *peer,
                                      size_t *used)
{
    size_t most = OAR_MIN(len, (size_t)V1_LONGEST);
    const char *lf = memchr(bytes, '\n', most);
    if (!lf) {
        return len >= V1_LONGEST ? OAR_PARSE_REFUSED : OAR_PARSE_MORE;
    }
    size_t line = (size_t)(lf - bytes);
    *used = line + 1;
    bool ok = lf[-1] == '\r' && read_line((struct oar_slice){bytes, line - 1}, peer);
    return ok ? OAR_PARSE_MESSAGE : OAR_PARSE_REFUSED;
}

static uint16_t word_at(const unsigned char *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static enum oar_parse_result parse_v2(const char *bytes, size_t len, struct oar_peer *peer,
                                      size_t *used)
{
    const unsigned char *p = (const unsigned char *)bytes;
    if (len < V2_FIXED) {
        return OAR_PARSE_MORE;
    }
    size_t rest = word_at(p + 14);
    unsigned version = p[12] >> 4;
    unsigned command = p[12] & 15u; /* 0 LOCAL, 1 PROXY */
    unsigned family = p[13];        /* 0x11 TCP over IPv4, 0x21 over IPv6, 0x31 unix, 0 unknown */
    size_t needs = family == 0x11 ? 12 : family == 0x21 ? 36 : family == 0x31 ? 216 : 0;
    bool known = family == 0 || family == 0x11 || family == 0x21 || family == 0x31;
    if (version != 2 || command > 1 || rest > V2_LONGEST ||
        (command == 1 && (!known || rest < needs))) {
        return OAR_PARSE_REFUSED;
    }
    if (len < V2_FIXED + rest) {
        return OAR_PARSE_MORE;
    }
    *used = V2_FIXED + rest;
    *peer = (struct oar_peer){0}; /* LOCAL, or unspecified: nobody's, not the proxy's */
    if (command == 1 && family == 0x11) {
        *peer = (struct oar_peer){.family = AF_INET, .port = word_at(p + 24)};
        memcpy(peer->address, p + 16, 4);
    } else if (command == 1 && family == 0x21) {
        *peer = (struct oar_peer){.family = AF_INET6, .port = word_at(p + 48)};
        memcpy(peer->address, p + 16, 16);
    } else if (command == 1 && family == 0x31) {
        *peer = (struct oar_peer){.family = AF_UNIX};
    }
    return OAR_PARSE_MESSAGE;
}

enum oar_parse_result oar_proxy_parse(const char *bytes, size_t len, struct oar_peer *peer,
                                      size_t *used)
{
    static const char v2[12] = {'\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};
    static const char v1[6] = {'P', 'R', 'O', 'X', 'Y', ' '};
    enum oar_parse_result result = OAR_PARSE_REFUSED;
    if (len == 0) {
        result = OAR_PARSE_MORE;
    } else if (memcmp(bytes, v2, OAR_MIN(len, sizeof v2)) == 0) {
        result = len < sizeof v2 ? OAR_PARSE_MORE : parse_v2(bytes, len, peer, used);
    } else if (memcmp(bytes, v1, OAR_MIN(len, sizeof v1)) == 0) {
        result = len < sizeof v1 ? OAR_PARSE_MORE : parse_v1(bytes, len, peer, used);
    }
    return result;
}

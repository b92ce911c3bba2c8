/* SPDX-License-Identifier: MIT
 * Who is at the other end: addresses, and sets of them. */
#ifndef OARLOCK_PEER_H
#define OARLOCK_PEER_H

#include "oarlock/err.h"

/* Port 0: not known. */
struct oar_peer {
    uint8_t family; /* AF_INET, AF_INET6, AF_UNIX; 0: not known */
    uint16_t port;
    uint8_t address[16]; /* network order */
};

/* An IPv4 address in IPv6 form (::ffff:a.b.c.d), as a socket for both gives them, becomes IPv4. */
void oar_peer_unmap(struct oar_peer *p);

/* Digits alone, 0 to 65535. */
bool oar_port_parse(struct oar_slice text, uint16_t *out);
/* "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]:80". An IPv4 address in IPv6 form
 * becomes IPv4. false: none of these. */
bool oar_peer_parse(struct oar_slice text, struct oar_peer *out);

enum { OAR_MAX_NETWORKS = 64 };
struct oar_networks {
    int count;
    bool unix_too, all;
    struct {
        uint8_t family, bits, address[16];
    } at[OAR_MAX_NETWORKS];
};

/* "10.0.0.0/8,::1,unix" or "*"; an error names the entry. */
enum oar_status oar_networks_parse(const char *text, const char *option, struct oar_networks *out,
                                   struct oar_err *err);
bool oar_networks_have(const struct oar_networks *set, const struct oar_peer *peer);

#endif

/* SPDX-License-Identifier: MIT
 * Addresses and listening sockets. */
#ifndef OARLOCK_NET_H
#define OARLOCK_NET_H

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include "oarlock/err.h"

struct oar_address {
    union {
        struct sockaddr any;
        struct sockaddr_storage storage;
        struct sockaddr_un un;
    };
    socklen_t len;
    int fd; /* an inherited socket; -1: one has to be made */
};

/* Which file a unix socket that we have bound is: another one may take its path. */
struct oar_unix_file {
    bool ours;
    dev_t dev;
    ino_t ino;
};

struct oar_listen_options {
    int backlog;
    const char *unix_mode;  /* octal */
    const char *unix_owner; /* "user[:group]" or "" */
};

/* "HOST:PORT", "[V6]:PORT", "PORT", "unix:PATH" or "fd:N". Names are resolved once, here. */
enum oar_status oar_net_parse(const char *text, struct oar_address *out, struct oar_err *err);
/* A listening, non-blocking, close-on-exec socket; an address in use is refused with its owner's
 * pid. */
enum oar_status oar_net_listen(const struct oar_address *address, const char *text,
                               const struct oar_listen_options *options, int *fd,
                               struct oar_unix_file *file, struct oar_err *err);
/* Closes a listening socket, and removes its file if it is ours. */
void oar_net_close(int fd, const struct oar_unix_file *file);
/* "http://127.0.0.1:8000" or "unix:/run/x.sock": where a client finds the socket. Room
 * for OAR_ADDRESS_TEXT bytes holds any. */
#define OAR_ADDRESS_TEXT 160
void oar_net_describe(int fd, char *out, size_t room);
/* The pid of a process that listens on the address; 0: not to be found (another user's). */
int oar_net_owner(const struct oar_address *address);

#endif

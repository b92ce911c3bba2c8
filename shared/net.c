/* SPDX-License-Identifier: MIT
 * Opens the listening sockets. One socket for each address, inherited by all workers: decision 001.
 * Process: master, before it forks or drops privileges. Owns nothing: descriptors go to the caller.
 * Never sets SO_REUSEPORT: an address that somebody else has must be an error, not a silent share.
 */
#include "shared/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "oarlock/limits.h"
#include "shared/net_unix.h"

static enum oar_status parse_unix(const char *path, struct oar_address *out, struct oar_err *err)
{
    if (*path == '\0' || strlen(path) >= sizeof out->un.sun_path) {
        return oar_err_set(err, "--bind unix:%s: a socket's path has 1 to %zu bytes", path,
                           sizeof out->un.sun_path - 1);
    }
    out->un.sun_family = AF_UNIX;
    snprintf(out->un.sun_path, sizeof out->un.sun_path, "%s", path);
    out->len = sizeof out->un;
    return OAR_OK;
}

/* A socket that whoever started the server has opened: systemd (the first is fd:3), a supervisor. */
static enum oar_status parse_inherited(const char *text, struct oar_address *out,
                                       struct oar_err *err)
{
    char *end;
    long fd = strtol(text + 3, &end, 10);
    int listening = 0;
    socklen_t len = sizeof listening;
    if (text[3] == '\0' || *end != '\0' || fd < 0 || fd > INT_MAX ||
        getsockopt((int)fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) != 0 || !listening) {
        return oar_err_set(err,
                           "--bind %s: the server was not started with a listening socket there "
                           "(systemd passes the first as fd:3)",
                           text);
    }
    out->fd = (int)fd;
    return OAR_OK;
}

enum oar_status oar_net_parse(const char *text, struct oar_address *out, struct oar_err *err)
{
    char host[256] = "127.0.0.1";
    memset(out, 0, sizeof *out);
    out->fd = -1;
    if (strncmp(text, "fd:", 3) == 0) {
        return parse_inherited(text, out, err);
    }
    if (strncmp(text, "unix:", 5) == 0) {
        return parse_unix(text + 5, out, err);
    }
    const char *colon = strrchr(text, ':');
    const char *port = colon ? colon + 1 : text;
    size_t len = colon ? (size_t)(colon - text) : 0;
    char *end;
    long number = strtol(port, &end, 10);
    if (*port == '\0' || *end != '\0' || number < 0 || number > 65535 || len >= sizeof host) {
        return oar_err_set(
            err, "--bind %s: give HOST:PORT (port 0 to 65535), [IPV6]:PORT, unix:PATH or fd:N",
            text);
    }
    bool bracketed = len >= 2 && text[0] == '[' && text[len - 1] == ']';
    if (len > 0) {
        snprintf(host, sizeof host, "%.*s", (int)(bracketed ? len - 2 : len), text + bracketed);
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(host, port, &hints, &found);
    if (rc != 0) {
        return oar_err_set(err, "--bind %s: '%s' is no address of this machine: %s", text, host,
                           gai_strerror(rc));
    }
    memcpy(&out->storage, found->ai_addr, found->ai_addrlen);
    out->len = found->ai_addrlen;
    freeaddrinfo(found);
    return OAR_OK;
}

static enum oar_status cannot_bind(const struct oar_address *address, const char *text, int error,
                                   struct oar_err *err)
{
    int owner = error == EADDRINUSE ? oar_net_owner(address) : 0;
    if (owner) {
        return oar_err_set(
            err, "--bind %s: the address is in use by process %d; stop it or bind another port",
            text, owner);
    }
    if (error == EADDRINUSE) {
        return oar_err_set(err,
                           "--bind %s: the address is in use by another user's process; "
                           "bind another port",
                           text);
    }
    return oar_err_set(err, "--bind %s: %s", text, strerror(error));
}

/* What accepted sockets inherit; nothing on a unix socket. Of a response that its client does not take,
 * the kernel keeps no more than OAR_UNSENT_MOST beyond what is on its way: without that limit it is
 * megabytes for each slow client, made by handlers before there was anybody to read them. */
static void set_inherited(int listener)
{
    const int on = 1;
    const int most = OAR_UNSENT_MOST;
    (void)setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(listener, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(listener, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &most, sizeof most);
}

static enum oar_status adopt(int inherited, const char *text, int *fd, struct oar_err *err)
{
    int flags = fcntl(inherited, F_GETFL);
    if (flags < 0 || fcntl(inherited, F_SETFL, flags | O_NONBLOCK) != 0 ||
        fcntl(inherited, F_SETFD, FD_CLOEXEC) != 0) {
        return oar_err_set(err, "--bind %s: %s", text, strerror(errno));
    }
    set_inherited(inherited);
    *fd = inherited;
    return OAR_OK;
}

enum oar_status oar_net_listen(const struct oar_address *address, const char *text,
                               const struct oar_listen_options *options, int *fd,
                               struct oar_unix_file *file, struct oar_err *err)
{
    int one = 1;
    bool is_unix = address->any.sa_family == AF_UNIX;
    *fd = -1;
    *file = (struct oar_unix_file){0};
    if (address->fd >= 0) {
        return adopt(address->fd, text, fd, err);
    }
    if (is_unix && oar_unix_clear(address, text, err) != OAR_OK) {
        return OAR_ERR;
    }
    int s = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s < 0) {
        return oar_err_set(err, "--bind %s: %s", text, strerror(errno));
    }
    if (!is_unix) { /* a restart must not wait for TIME_WAIT */
        setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        set_inherited(s);
    }
    if (address->any.sa_family == AF_INET6) {
        setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    }
    int bound = is_unix ? oar_unix_bind(s, address) : bind(s, &address->any, address->len);
    if (bound != 0 || listen(s, options->backlog) != 0) {
        int error = errno;
        close(s);
        return cannot_bind(address, text, error, err);
    }
    if (is_unix && oar_unix_give(address, text, options, file, err) != OAR_OK) {
        oar_net_close(s, file);
        return OAR_ERR;
    }
    *fd = s;
    return OAR_OK;
}

/* The path of a unix socket, "@name" of one without a file; false: another kind of socket. */
static bool unix_path(const struct oar_address *a, char *out, size_t room)
{
    size_t most = sizeof a->un.sun_path;
    size_t len = a->len > offsetof(struct sockaddr_un, sun_path)
                     ? OAR_MIN(a->len - offsetof(struct sockaddr_un, sun_path), most)
                     : 0;
    bool abstract = len > 0 && a->un.sun_path[0] == '\0';
    const char *path = a->un.sun_path + abstract;
    int shown = (int)(len > 0 ? strnlen(path, len - abstract) : 0);
    snprintf(out, room, "%s%.*s", abstract ? "@" : "", shown, path);
    return a->any.sa_family == AF_UNIX;
}

void oar_net_close(int fd, const struct oar_unix_file *file)
{
    struct oar_address a = {.len = sizeof a.storage};
    char path[sizeof a.un.sun_path + 2];
    if (file->ours && getsockname(fd, &a.any, &a.len) == 0 && unix_path(&a, path, sizeof path)) {
        oar_unix_remove(path, file);
    }
    close(fd);
}

void oar_net_describe(int fd, char *out, size_t room)
{
    struct oar_address a = {.len = sizeof a.storage};
    char host[64] = "?";
    char path[sizeof a.un.sun_path + 2];
    getsockname(fd, &a.any, &a.len);
    if (a.any.sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)&a.storage;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        snprintf(out, room, "http://%s:%d", host, ntohs(in->sin_port));
    } else if (a.any.sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const void *)&a.storage;
        inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof host);
        snprintf(out, room, "http://[%s]:%d", host, ntohs(in->sin6_port));
    } else {
        unix_path(&a, path, sizeof path);
        snprintf(out, room, "unix:%s", path);
    }
}

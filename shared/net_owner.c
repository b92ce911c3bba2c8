/* SPDX-License-Identifier: MIT
 * Who listens on an address? /proc/net names the socket's inode, /proc/PID/fd the process that
 * holds it. Process: master, when bind failed with EADDRINUSE. Owns nothing. Never fails loudly: 0
 * is "unknown". */
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "shared/net.h"

/* The inode of a socket in state LISTEN (0A) with this port, from /proc/net/tcp or tcp6; 0: none.
 */
static unsigned long listening_inode(const char *file, unsigned port)
{
    char line[512];
    unsigned long found = 0;
    FILE *f = fopen(file, "re");
    while (f && !found && fgets(line, sizeof line, f)) {
        char local[64];
        unsigned state = 0;
        unsigned long inode = 0;
        if (sscanf(line, " %*d: %63s %*s %x %*s %*s %*s %*s %*s %lu", local, &state, &inode) == 3) {
            const char *colon = strrchr(local, ':');
            if (state == 0x0A && colon && strtoul(colon + 1, NULL, 16) == port) {
                found = inode;
            }
        }
    }
    if (f) {
        fclose(f);
    }
    return found;
}

static bool holds(const char *pid, const char *wanted)
{
    char path[300];
    char target[64];
    bool found = false;
    snprintf(path, sizeof path, "/proc/%.20s/fd", pid);
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && !found && (e = readdir(dir));) {
        snprintf(path, sizeof path, "/proc/%.20s/fd/%.20s", pid, e->d_name);
        ssize_t n = readlink(path, target, sizeof target - 1);
        target[n > 0 ? n : 0] = '\0';
        found = strcmp(target, wanted) == 0;
    }
    if (dir) {
        closedir(dir);
    }
    return found;
}

int oar_net_owner(const struct oar_address *address)
{
    unsigned port =
        address->any.sa_family == AF_INET
            ? ntohs(((const struct sockaddr_in *)(const void *)&address->storage)->sin_port)
            : ntohs(((const struct sockaddr_in6 *)(const void *)&address->storage)->sin6_port);
    unsigned long inode = listening_inode("/proc/net/tcp", port);
    inode = inode ? inode : listening_inode("/proc/net/tcp6", port);
    char wanted[64];
    int owner = 0;
    snprintf(wanted, sizeof wanted, "socket:[%lu]", inode);
    DIR *proc = inode ? opendir("/proc") : NULL;
    for (struct dirent *e; proc && (e = readdir(proc));) { /* the oldest holder is the master */
        if (isdigit((unsigned char)e->d_name[0]) && holds(e->d_name, wanted) &&
            (owner == 0 || atoi(e->d_name) < owner)) {
            owner = atoi(e->d_name);
        }
    }
    if (proc) {
        closedir(proc);
    }
    return owner;
}

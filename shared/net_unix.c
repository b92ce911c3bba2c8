/* SPDX-License-Identifier: MIT
 * The files of unix sockets. A path may lie in a folder that others can write to, so a file is
 * known by its device and inode, looked at through a descriptor, and never through a link.
 * Process: master, before it forks, and when it ends. Owns nothing. Never removes a file that it
 * has not made, but for the socket of a server that is gone. */
#include "shared/net_unix.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static bool unlink_if(const char *path, dev_t dev, ino_t ino)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_dev == dev && st.st_ino == ino &&
           unlink(path) == 0;
}

enum oar_status oar_unix_clear(const struct oar_address *address, const char *text,
                               struct oar_err *err)
{
    struct stat st;
    int error = 0;
    if (lstat(address->un.sun_path, &st) != 0) {
        return OAR_OK; /* there is none, or bind will say what is wrong */
    }
    if (!S_ISSOCK(st.st_mode)) {
        return oar_err_set(err, "--bind %s: the path exists and is not a socket", text);
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, &address->any, address->len) != 0) {
        error = errno;
    }
    if (fd >= 0) {
        close(fd);
    }
    if (error == 0 || error == EAGAIN) { /* EAGAIN: its queue is full */
        return oar_err_set(
            err, "--bind %s: another server listens there; stop it or bind another path", text);
    }
    if (error != ECONNREFUSED) { /* no permission, another type of socket, out of descriptors */
        return oar_err_set(err,
                           "--bind %s: a socket is there, and whether its server lives cannot be "
                           "told (%s); remove it or bind another path",
                           text, strerror(error));
    }
    if (!unlink_if(address->un.sun_path, st.st_dev, st.st_ino)) {
        return oar_err_set(err, "--bind %s: cannot remove the stale socket: %s", text,
                           strerror(errno));
    }
    return OAR_OK;
}

int oar_unix_bind(int s, const struct oar_address *address)
{
    mode_t old = umask(0777);
    int rc = bind(s, &address->any, address->len);
    umask(old);
    return rc;
}

/* "user[:group]"; -1: not given. */
static enum oar_status find_owner(const char *owner, uid_t *uid, gid_t *gid, struct oar_err *err)
{
    char user[64];
    size_t len = strcspn(owner, ":");
    const char *group = owner[len] ? owner + len + 1 : "";
    snprintf(user, sizeof user, "%.*s", (int)len, owner);
    const struct passwd *pw = *user ? getpwnam(user) : NULL;
    const struct group *gr = *group ? getgrnam(group) : NULL;
    if ((*user && !pw) || (*group && !gr)) {
        return oar_err_set(err, "--unix-owner %s: there is no such %s", owner,
                           *user && !pw ? "user" : "group");
    }
    *uid = pw ? pw->pw_uid : (uid_t)-1;
    *gid = pw ? pw->pw_gid : (gid_t)-1;
    *gid = gr ? gr->gr_gid : *gid;
    return OAR_OK;
}

/* chmod of a file that is only open as a path: through its link in /proc. */
static int change_mode(int fd, const char *octal)
{
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    return chmod(link, (mode_t)strtoul(octal, NULL, 8));
}

enum oar_status oar_unix_give(const struct oar_address *address, const char *text,
                              const struct oar_listen_options *options, struct oar_unix_file *file,
                              struct oar_err *err)
{
    struct stat st;
    uid_t uid = (uid_t)-1;
    gid_t gid = (gid_t)-1;
    enum oar_status status = OAR_OK;
    int fd = open(address->un.sun_path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    /* a socket with another name elsewhere is not the one that bind has made */
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISSOCK(st.st_mode) || st.st_nlink != 1) {
        status = oar_err_set(err, "--bind %s: another file has taken the socket's place", text);
    } else {
        *file = (struct oar_unix_file){.ours = true, .dev = st.st_dev, .ino = st.st_ino};
        status = find_owner(options->unix_owner, &uid, &gid, err);
    }
    if (status == OAR_OK && ((*options->unix_owner && fchownat(fd, "", uid, gid, AT_EMPTY_PATH)) ||
                             change_mode(fd, options->unix_mode) != 0)) {
        status =
            oar_err_set(err, "--bind %s: cannot set its owner or mode: %s", text, strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
    return status;
}

void oar_unix_remove(const char *path, const struct oar_unix_file *file)
{
    if (file->ours) {
        (void)unlink_if(path, file->dev, file->ino);
    }
}

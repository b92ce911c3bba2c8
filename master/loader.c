/* SPDX-License-Identifier: MIT
 * Runs the loader, a short-lived child that imports the application, and makes its manifest the
 * sealed route table. The pipe carries 'M', a line naming the runtime and the manifest, or 'E' and
 * a message; then OAR_LOADER_END. Process: master. Owns the pipe and what came through it. Never waits for the loader
 * without a limit, and trusts nothing that it writes. */
#include "master/loader.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/children.h"
#include "oarlock/log.h"
#include "shared/manifest.h"

enum oar_status oar_loader_start(struct oar_loader *l, const struct oar_config *config,
                                 oar_loader_entry entry, void (*in_child)(void *), void *data,
                                 struct oar_err *err)
{
    int fds[2];
    *l = (struct oar_loader){.fd = -1};
    if (pipe2(fds, O_CLOEXEC) != 0) {
        return oar_err_set(err, "cannot make a pipe: %s", strerror(errno));
    }
    l->pid = oar_child_fork("loader", 0);
    if (l->pid == 0) {
        close(fds[0]);
        in_child(data);
        _exit(entry(config, fds[1]));
    }
    close(fds[1]);
    if (l->pid < 0) {
        close(fds[0]);
        return oar_err_set(err, "cannot fork the loader: %s", strerror(errno));
    }
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    l->group = l->pid;
    l->fd = fds[0];
    return OAR_OK;
}

static bool has_ended(const struct oar_loader *l)
{
    siginfo_t info = {0};
    return l->pid == 0 || (waitid(P_PID, (id_t)l->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
                           info.si_pid == l->pid);
}

enum oar_status oar_loader_read(struct oar_loader *l, struct oar_err *err)
{
    bool ended = has_ended(l); /* looked at first: what it wrote before that is read below */
    for (;;) {
        char *room = l->got.len < OAR_MAX_MANIFEST ? oar_buf_room(&l->got, 65536) : NULL;
        if (!room) {
            return oar_err_set(err, "the application's manifest is longer than %u bytes",
                               OAR_MAX_MANIFEST);
        }
        ssize_t n = read(l->fd, room, 65536);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno != EAGAIN) {
            return oar_err_set(err, "cannot read from the loader: %s", strerror(errno));
        }
        if (n <= 0) {
            return n == 0 || ended ? OAR_OK : OAR_AGAIN;
        }
        l->got.len += (size_t)n;
        if (l->got.data[l->got.len - 1] == OAR_LOADER_END) {
            return OAR_OK;
        }
    }
}

void oar_loader_kill(const struct oar_loader *l)
{
    if (l->pid > 0) {
        kill(-l->pid, SIGKILL);
        kill(l->pid, SIGKILL);
    }
}

void oar_loader_end(struct oar_loader *l)
{
    oar_loader_kill(l);
    while (l->group > 0 && (waitpid(-l->group, NULL, 0) > 0 || errno == EINTR)) {
    }
    l->pid = 0;
}

/* Writes, unmaps, seals, maps read-only and private: kernels around 5.15 refuse to share a sealed
 * memfd, and the pages are shared all the same. */
static enum oar_status seal(const struct oar_built *built, const void **routes, struct oar_err *err)
{
    enum oar_status status = OAR_ERR;
    int fd = memfd_create(OAR_ROUTES_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return oar_err_set(err, "cannot make memory for the route table: %s", strerror(errno));
    }
    size_t written = 0;
    while (written < built->size) {
        ssize_t n = write(fd, (const char *)built->bytes + written, built->size - written);
        if (n <= 0) {
            break;
        }
        written += (size_t)n;
    }
    if (written < built->size ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0) {
        oar_err_set(err, "cannot seal the route table (%zu bytes): %s", built->size,
                    strerror(errno));
        goto out;
    }
    void *p = mmap(NULL, built->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) {
        oar_err_set(err, "cannot map the route table (%zu bytes): %s", built->size,
                    strerror(errno));
        goto out;
    }
    *routes = p;
    status = oar_route_check(p, built->size, err);
out:
    if (status != OAR_OK) { /* else it stays open: `oarlock routes --live` finds it under /proc */
        close(fd);
    }
    return status;
}

static void log_warnings(char *warnings)
{
    for (char *line = warnings, *end; line && *line; line = end + 1) {
        end = strchr(line, '\n');
        *end = '\0';
        oar_log(OAR_LOG_WARNING, "%s", line);
    }
}

/* For the error that names it: its end may be a moment later than its pipe's. */
static void how_it_ended(const struct oar_loader *l, char *out, size_t room)
{
    siginfo_t info = {0};
    int status = l->status;
    for (int i = 0; i < 100 && l->pid > 0 && info.si_pid != l->pid; i++) {
        poll(NULL, 0, i > 0);
        if (waitid(P_PID, (id_t)l->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0) {
            break;
        }
        status = info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status;
    }
    if (l->pid > 0 && info.si_pid != l->pid) {
        snprintf(out, room, "lives, but has closed its pipe to the master");
    } else {
        oar_child_describe(status, false, out, room);
    }
}

enum oar_status oar_loader_compile(struct oar_loader *l, const struct oar_config *config,
                                   const void **routes, char *runtime, size_t room,
                                   struct oar_err *err)
{
    struct oar_slice got = {l->got.data, l->got.len};
    bool whole = got.len > 0 && got.ptr[got.len - 1] == OAR_LOADER_END;
    got.len -= whole;
    if (got.len > 0 && got.ptr[0] == 'E') {
        oar_log_text(OAR_LOG_ERROR, (struct oar_slice){got.ptr + 1, got.len - 1});
        return oar_err_set(err, "the application could not be loaded; the reason stands above");
    }
    const char *line = whole && got.ptr[0] == 'M' ? memchr(got.ptr, '\n', got.len) : NULL;
    if (!line) {
        char how[200];
        how_it_ended(l, how, sizeof how);
        return oar_err_set(err,
                           "the loader ended without a word: it %s. Run the application's import "
                           "by hand: python -c 'import %.*s'",
                           how, config->target ? (int)strcspn(config->target, ":") : 0,
                           config->target ? config->target : "");
    }
    snprintf(runtime, room, "%.*s", (int)(line - got.ptr - 1), got.ptr + 1);
    struct oar_built built;
    struct oar_slice manifest = {line + 1, got.len - (size_t)(line + 1 - got.ptr)};
    enum oar_status status =
        oar_manifest_compile(manifest, config->route_order == OAR_ROUTE_ORDER_REGISTRATION,
                             config->allow_duplicates, &built, err);
    if (status == OAR_OK) {
        log_warnings(built.warnings);
        status = seal(&built, routes, err);
    }
    free(built.bytes);
    free(built.warnings);
    return status;
}

void oar_loader_free(struct oar_loader *l)
{
    if (l->fd >= 0) {
        close(l->fd);
    }
    l->fd = -1;
    oar_buf_free(&l->got);
}

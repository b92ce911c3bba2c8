/* SPDX-License-Identifier: MIT
 * `oarlock routes --live PID`: the routes of a running server, where each handler runs, and who kept
 * an event loop waiting. Process: one of its own; it reads the server's route table and scoreboard
 * through /proc/PID/fd. Owns two read-only mappings. Never writes; never trusts an offset. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "master/master.h"
#include "oarlock/log.h"
#include "oarlock/route.h"
#include "oarlock/shm.h"

/* A descriptor of the process that leads to the memory of this name; -1: it has none. */
static int open_memory(int pid, const char *name)
{
    char folder[64];
    char wanted[64];
    int found = -1;
    snprintf(folder, sizeof folder, "/proc/%d/fd", pid);
    snprintf(wanted, sizeof wanted, "/memfd:%s", name);
    DIR *d = opendir(folder);
    for (struct dirent *e; d && found < 0 && (e = readdir(d));) {
        char path[512];
        char target[128] = "";
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (readlink(path, target, sizeof target - 1) > 0 &&
            strncmp(target, wanted, strlen(wanted)) == 0) {
            found = open(path, O_RDONLY | O_CLOEXEC);
        }
    }
    int saved = errno;
    if (d) {
        closedir(d);
    }
    errno = found < 0 && d ? ENOENT : saved;
    return found;
}

static const void *map(int pid, const char *name, int how, size_t *size, struct oar_err *err)
{
    struct stat st;
    int fd = open_memory(pid, name);
    void *p = fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0
                  ? mmap(NULL, (size_t)st.st_size, PROT_READ, how, fd, 0)
                  : MAP_FAILED;
    if (p == MAP_FAILED) {
        oar_err_set(err, "cannot read the %s of process %d: %s; give the process id of a master%s",
                    name + strlen("oarlock-"), pid, strerror(errno),
                    errno == EACCES ? " that you may look into" : "");
        p = NULL;
    } else {
        *size = (size_t)st.st_size;
    }
    if (fd >= 0) {
        close(fd);
    }
    return p;
}

/* Offsets lie within what is mapped. */
static enum oar_status check(const struct oar_shm *shm, size_t size, struct oar_err *err)
{
    if (size < sizeof *shm || shm->magic != OAR_SHM_MAGIC || shm->version != OAR_SHM_VERSION) {
        return oar_err_set(err, "the server runs another version of oarlock than this one");
    }
    if (shm->n_workers > OAR_MAX_WORKERS || shm->n_threads > OAR_MAX_THREADS ||
        size != oar_shm_size(shm->n_workers, shm->n_threads)) {
        return oar_err_set(err, "the server's scoreboard is damaged");
    }
    return OAR_OK;
}

static const char *where(const struct oar_rt_route *r, unsigned place)
{
    return r->kind == OAR_HANDLER_ASYNC ? "event loop"
           : r->blocking == 1           ? "inline (blocking=False)"
           : r->blocking == 2           ? "pool (blocking=True)"
           : place & OAR_PLACE_INLINE   ? "inline"
                                        : "pool";
}

static void print_live(const void *table, const struct oar_shm *shm)
{
    const struct oar_rt_header *h = table;
    struct oar_route_live *live = oar_shm_routes((struct oar_shm *)shm);
    int width = 4;
    for (uint32_t i = 0; i < h->n_routes; i++) {
        width = OAR_MAX(width, OAR_MIN(60, (int)oar_rt_routes(table)[i].path_len));
    }
    printf("%-*s %-24s %-9s %-22s %s\n", width, "PATH", "RUNS", "DEMOTED", "OVERTAKEN, LONGEST",
           "KEPT AN EVENT LOOP WAITING");
    for (uint32_t i = 0; i < h->n_routes; i++) {
        const struct oar_rt_route *r = &oar_rt_routes(table)[i];
        const struct oar_route_live *l = &live[r->handler];
        unsigned place = OAR_GET_NOW(l->place);
        uint32_t blamed = OAR_GET_NOW(l->blamed);
        char demoted[24] = "";
        if (place / OAR_PLACE_DEMOTED) {
            snprintf(demoted, sizeof demoted, "%u x", place / OAR_PLACE_DEMOTED);
        }
        uint32_t overtaken = OAR_GET_NOW(l->overtaken);
        char stayed[48] = "";
        if (overtaken) {
            snprintf(stayed, sizeof stayed, "%" PRIu32 " x, %.0f ms", overtaken,
                     (double)OAR_GET_NOW(l->longest_ns) / 1e6);
        }
        printf("%-*s %-24s %-9s %-22s ", width, oar_rt_text(table, r->path_off), where(r, place),
               demoted, stayed);
        if (blamed) {
            printf("%" PRIu32 " x, %.0f ms", blamed, (double)OAR_GET_NOW(l->blamed_ns) / 1e6);
        }
        printf("\n");
    }
}

int oar_master_live(int pid)
{
    struct oar_err err;
    size_t table_size;
    size_t shm_size;
    const void *table = map(pid, OAR_ROUTES_NAME, MAP_PRIVATE, &table_size, &err);
    const struct oar_shm *shm = table ? map(pid, OAR_SHM_NAME, MAP_SHARED, &shm_size, &err) : NULL;
    bool fine = shm && oar_route_check(table, table_size, &err) == OAR_OK &&
                check(shm, shm_size, &err) == OAR_OK;
    if (fine) {
        print_live(table, shm);
        fflush(stdout);
    } else {
        oar_log(OAR_LOG_ERROR, "%s", err.text);
    }
    return fine ? 0 : 1;
}

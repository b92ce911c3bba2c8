/* SPDX-License-Identifier: MIT
 * Makes the scoreboard's memory.
 * Process: master, before any fork; workers inherit the mapping. Owns nothing after it returned.
 * Never unmaps: the scoreboard lives as long as the master. */
#include "oarlock/shm.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

size_t oar_shm_size(uint32_t n_workers, uint32_t n_threads)
{
    return sizeof(struct oar_shm) + (size_t)n_workers * n_threads * sizeof(struct oar_slot) +
           (OAR_MAX_ROUTES + 1) * sizeof(struct oar_route_live);
}

enum oar_status oar_shm_create(struct oar_shm **out, uint32_t n_workers, uint32_t n_threads,
                               struct oar_err *err)
{
    size_t size = oar_shm_size(n_workers, n_threads);
    if ((uint64_t)n_workers * n_threads > OAR_MAX_SLOTS) {
        return oar_err_set(err, "--workers %u x --threads %u is more than %d event loops",
                           n_workers, n_threads, OAR_MAX_SLOTS);
    }
    int fd = memfd_create(OAR_SHM_NAME, MFD_CLOEXEC);
    void *p = fd >= 0 && ftruncate(fd, (off_t)size) == 0
                  ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
                  : MAP_FAILED;
    if (p == MAP_FAILED) {
        return oar_err_set(err, "no memory for the scoreboard (%zu bytes): %s", size,
                           strerror(errno));
    }
    struct oar_shm *shm = p;
    shm->magic = OAR_SHM_MAGIC;
    shm->version = OAR_SHM_VERSION;
    shm->size = (uint32_t)size;
    shm->n_workers = n_workers;
    shm->n_threads = n_threads;
    shm->slots_off = sizeof *shm;
    shm->slot_size = sizeof(struct oar_slot);
    shm->routes_off = shm->slots_off + n_workers * n_threads * shm->slot_size;
    shm->master_pid = (int32_t)getpid();
    *out = shm;
    return OAR_OK;
}

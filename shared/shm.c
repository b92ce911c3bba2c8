/* SPDX-License-Identifier: MIT
 * Makes the scoreboard's memory.
 * Process: master, before any fork; workers inherit the mapping, and protect its header. Owns nothing after it returned.
 * Never unmaps: the scoreboard lives as long as the master. */
#include "oarlock/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "oarlock/log.h"

size_t oar_shm_size(uint32_t n_workers, uint32_t n_threads)
{
    return OAR_SHM_SLOTS_OFF + (size_t)n_workers * n_threads * sizeof(struct oar_slot);
}

enum oar_status oar_shm_create(struct oar_shm **out, uint32_t n_workers, uint32_t n_threads,
                               struct oar_err *err)
{
    size_t size = oar_shm_size(n_workers, n_threads);
    if ((uint64_t)n_workers * n_threads > OAR_MAX_SLOTS) {
        return oar_err_set(err, "--workers %u x --threads %u is more than %d event loops",
                           n_workers, n_threads, OAR_MAX_SLOTS);
    }
    int fd = memfd_create(OAR_SHM_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    /* A worker that made it shorter would end the master with SIGBUS. Not sealed against writing:
     * that cannot be done while somebody can write (EBUSY), and workers have to. */
    void *p = fd >= 0 && ftruncate(fd, (off_t)size) == 0 &&
                      fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0
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
    shm->slots_off = OAR_SHM_SLOTS_OFF;
    shm->slot_size = sizeof(struct oar_slot);
    shm->routes_off = OAR_SHM_ROUTES_OFF;
    shm->master_pid = (int32_t)getpid();
    *out = shm;
    return OAR_OK;
}

void oar_shm_protect(struct oar_shm *shm)
{
    if (mprotect(shm, OAR_SHM_HEADER, PROT_READ) != 0) {
        oar_log(OAR_LOG_WARNING, "the scoreboard's header cannot be protected: %s",
                strerror(errno));
    }
}

/* SPDX-License-Identifier: MIT
 * How many cores this process may use: affinity (which a cpuset narrows), and the CPU quota of
 * cgroup v1 or v2, the least over all ancestors, rounded up. Process: master, once. Owns nothing.
 * Never guesses upwards: what cannot be read does not count. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "master/master.h"
#include "oarlock/log.h"

static int by_affinity(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                        : (int)sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? n : 1;
}

static bool read_line(const char *path, char *line, size_t room)
{
    FILE *f = fopen(path, "re");
    bool ok = f && fgets(line, (int)room, f);
    if (f) {
        fclose(f);
    }
    return ok;
}

/* Cores that the files in `folder` allow; 0: no limit there. */
static double quota_in(const char *folder)
{
    char path[1200];
    char line[128];
    double quota = 0;
    double period = 0;
    snprintf(path, sizeof path, "%s/cpu.max", folder); /* v2: "max 100000" or "150000 100000" */
    if (read_line(path, line, sizeof line)) {
        return sscanf(line, "%lf %lf", &quota, &period) == 2 && period > 0 ? quota / period : 0;
    }
    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder); /* v1: -1 is no limit */
    quota = read_line(path, line, sizeof line) ? atof(line) : 0;
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
    period = read_line(path, line, sizeof line) ? atof(line) : 0;
    return quota > 0 && period > 0 ? quota / period : 0;
}

/* The least quota from `path` up to `root`. */
static double least_quota(const char *root, const char *path)
{
    char folder[1100];
    double least = 0;
    snprintf(folder, sizeof folder, "%s%s", root, path);
    for (;;) {
        double here = quota_in(folder);
        least = here > 0 && (least == 0 || here < least) ? here : least;
        char *slash = strrchr(folder, '/');
        if (strlen(folder) <= strlen(root) || !slash) {
            return least;
        }
        *slash = '\0';
    }
}

static double by_cgroup(void)
{
    char line[1024];
    double least = 0;
    FILE *f = fopen("/proc/self/cgroup", "re");
    while (f && fgets(line, sizeof line, f)) { /* "0::/path" or "4:cpu,cpuacct:/path" */
        line[strcspn(line, "\n")] = '\0';
        const char *controllers = strchr(line, ':');
        const char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        bool v2 = strncmp(line, "0::", 3) == 0;
        if (path && (v2 || strstr(controllers, "cpu,") || strstr(controllers, ":cpu:"))) {
            double here = least_quota(v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu", path + 1);
            least = here > 0 && (least == 0 || here < least) ? here : least;
        }
    }
    if (f) {
        fclose(f);
    }
    return least;
}

static bool in_container(void)
{
    return access("/.dockerenv", F_OK) == 0 || access("/run/.containerenv", F_OK) == 0 ||
           getenv("KUBERNETES_SERVICE_HOST") != NULL;
}

int oar_cpu_share(void)
{
    enum { MOST_WITHOUT_QUOTA = 4 };
    int cores = by_affinity();
    double quota = by_cgroup();
    int share = quota > 0 ? OAR_MIN(cores, (int)(quota + 0.999)) : cores;
    if (quota == 0 && share > MOST_WITHOUT_QUOTA && in_container()) {
        oar_log(
            OAR_LOG_WARNING,
            "this container has no CPU quota and sees %d cores, which others may use too; \"auto\" takes %d. "
            "Set a limit, or give --workers (Kubernetes: env OARLOCK_WORKERS from resourceFieldRef limits.cpu)",
            cores, MOST_WITHOUT_QUOTA);
        share = MOST_WITHOUT_QUOTA;
    }
    return OAR_MAX(share, 1);
}

/* SPDX-License-Identifier: MIT
 * Finds and opens the bridge: the shared object with worker/py/ for one interpreter.
 * Process: find in the master (it loads nothing), open in loader and workers. Owns the handle for
 * the life of the process. Never opens two bridges in one process.
 *
 * --python gil|ft: the bridge built for the interpreter that the build chose. --python PATH: asks
 * that executable for version and kind, and uses its own libpython with the bridge of that kind. A
 * virtual environment gives the executable, so that the interpreter finds the environment's
 * packages. */
#include "worker/bridge.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oarlock/version.h"
#include "shared/places.h"
#include "worker/thread.h"

/* What `python` says of itself: "ft 3.13" or "gil 3.13". */
static enum oar_status ask(const char *python, char *answer, size_t room, struct oar_err *err)
{
    static const char question[] =
        "import sys, sysconfig\n"
        "print('ft' if sysconfig.get_config_var('Py_GIL_DISABLED') else 'gil',"
        " '%d.%d' % sys.version_info[:2])\n";
    int fds[2];
    int status = -1;
    size_t len = 0;
    if (pipe2(fds, O_CLOEXEC) != 0) {
        return oar_err_set(err, "--python %s: %s", python, strerror(errno));
    }
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        execlp(python, python, "-I", "-c", question, (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    for (ssize_t n = 1; pid > 0 && n > 0 && len<room - 1; len += n> 0 ? (size_t)n : 0) {
        n = read(fds[0], answer + len, room - 1 - len);
    }
    close(fds[0]);
    answer[len] = '\0';
    answer[strcspn(answer, "\n")] = '\0';
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        return oar_err_set(
            err,
            "--python %s: not a program that runs as a Python interpreter; give gil, ft "
            "or the path of a python executable (>= 3.13, with a shared libpython)",
            python);
    }
    return OAR_OK;
}

/* The interpreter's kind and, for a PATH, the executable. */
static enum oar_status choose(const struct oar_config *config, const char *venv, char *kind,
                              size_t room, struct oar_bridge *out, struct oar_err *err)
{
    enum oar_status status = OAR_OK;
    bool named = strcmp(config->python, "gil") == 0 || strcmp(config->python, "ft") == 0;
    if (named) {
        snprintf(kind, room, "%s", config->python);
    } else {
        snprintf(out->python, sizeof out->python, "%s", config->python);
        status = ask(config->python, kind, room, err);
        char *space = strchr(kind, ' ');
        if (status == OAR_OK && space) {
            *space = '\0';
            snprintf(out->version, sizeof out->version, "%s", space + 1);
        }
    }
    if (status == OAR_OK && *venv) {
        int n = snprintf(out->python, sizeof out->python, "%s/bin/python", venv);
        if (n < 0 || (size_t)n >= sizeof out->python || !oar_places_exists(out->python)) {
            status =
                oar_err_set(err, "--venv %s: there is no %s; make one with: python3 -m venv %s",
                            venv, out->python, venv);
        }
    }
    return status;
}

enum oar_status oar_bridge_find(const struct oar_config *config, struct oar_bridge *out,
                                struct oar_err *err)
{
    static const char *const bridges[] = {"bridge", "../lib/oarlock/bridge"};
    static const char *const packages[] = {"../python", "../lib/oarlock/python", "../.."};
    char folder[PATH_MAX];
    char kind[64] = "";
    char file[128];
    char found[PATH_MAX];
    const char *venv = *config->venv ? config->venv : getenv("VIRTUAL_ENV");
    *out = (struct oar_bridge){0};
    if (config->stub) {
        return OAR_OK;
    }
    oar_places_own(folder, sizeof folder);
    if (choose(config, venv ? venv : "", kind, sizeof kind, out, err) != OAR_OK) {
        return OAR_ERR;
    }
    out->free_threaded = strcmp(kind, "ft") == 0;
    snprintf(file, sizeof file, "%.16s.so", kind);
    if (!oar_places_find(folder, bridges, OAR_ARRAY_LEN(bridges), file, found, sizeof found)) {
        return oar_err_set(err,
                           "--python %s: no bridge %s beside %s/oarlock; build it with "
                           "`make build`, or install oarlock into that interpreter with pip",
                           config->python, file, folder);
    }
    int n = snprintf(out->path, sizeof out->path, "%s/%s", found, file);
    if (n < 0 || (size_t)n >= sizeof out->path) {
        return oar_err_set(err, "the path of the bridge is too long: %s", found);
    }
    if (!oar_places_find(folder, packages, OAR_ARRAY_LEN(packages), "oarlock/__init__.py",
                         out->package_dir, sizeof out->package_dir)) {
        out->package_dir[0] = '\0';
    }
    return OAR_OK;
}

enum oar_status oar_bridge_open(const struct oar_config *config, struct oar_bridge *b,
                                struct oar_err *err)
{
    const struct oar_host *host = &oar_host;
    if (config->stub) {
        b->app = oar_stub_app();
    } else {
        void *handle = dlopen(b->path, RTLD_NOW | RTLD_GLOBAL);
        oar_bridge_entry entry = NULL;
        if (!handle) {
            return oar_err_set(err, "cannot open the bridge: %s", dlerror());
        }
        *(void **)&entry = dlsym(handle, OAR_BRIDGE_SYMBOL);
        b->app = entry ? entry(OAR_BRIDGE_ABI) : NULL;
        if (!b->app) {
            return oar_err_set(
                err, "the bridge %s was built for another version of oarlock; build both again",
                b->path);
        }
    }
    if (b->version[0] && strcmp(b->version, b->app->version) != 0) {
        return oar_err_set(
            err,
            "--python %s is CPython %s, but the bridge %s was built for %s; build one for it with "
            "`make build PYTHON=...` or `pip install` oarlock into it",
            config->python, b->version, b->path, b->app->version);
    }
    if (!b->python[0]) {
        snprintf(b->python, sizeof b->python, "%s", b->app->python);
    }
    b->args = (struct oar_app_args){.host = host,
                                    .config = config,
                                    .python = b->python,
                                    .package_dir = b->package_dir,
                                    .bridge_path = b->path};
    return OAR_OK;
}

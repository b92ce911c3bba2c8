/* SPDX-License-Identifier: MIT
 * Opens the listening sockets, and closes them for the whole server.
 * Process: master. Owns the sockets, and the files of those unix sockets that it has bound. Never
 * accepts. */
#include "master/listeners.h"

enum oar_status oar_listeners_open(struct oar_listeners *l, const struct oar_config *config,
                                   struct oar_err *err)
{
    const struct oar_listen_options options = {(int)config->backlog, config->unix_mode,
                                               config->unix_owner};
    for (int i = 0; i < config->bind.count; i++) {
        struct oar_address address;
        const char *text = config->bind.at[i];
        if (oar_net_parse(text, &address, err) != OAR_OK ||
            oar_net_listen(&address, text, &options, &l->fds[i], &l->files[i], err) != OAR_OK) {
            return OAR_ERR;
        }
        l->inherited[i] = address.fd >= 0;
        l->n++;
    }
    return OAR_OK;
}

void oar_listeners_close(struct oar_listeners *l)
{
    for (int i = 0; i < l->n; i++) {
        if (!l->inherited[i]) {
            shutdown(l->fds[i], SHUT_RDWR);
        }
        oar_net_close(l->fds[i], &l->files[i]);
    }
    l->n = 0;
}

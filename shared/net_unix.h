/* SPDX-License-Identifier: MIT
 * The files of unix sockets: made without permissions, given to their owner, removed only while
 * they are ours. Used by net.c. */
#ifndef OARLOCK_NET_UNIX_H
#define OARLOCK_NET_UNIX_H

#include "shared/net.h"

/* Before bind: removes the file of a server that is gone. An error: a server listens there, another
 * kind of file is there, or nobody can tell. */
enum oar_status oar_unix_clear(const struct oar_address *address, const char *text,
                               struct oar_err *err);
/* bind, with no permission for anybody on the file. As bind(2). */
int oar_unix_bind(int s, const struct oar_address *address);
/* Sets owner and mode of the file that was bound, and says which file that is. Never follows a
 * link. On an error `file` is ours if there is something to remove. */
enum oar_status oar_unix_give(const struct oar_address *address, const char *text,
                              const struct oar_listen_options *options, struct oar_unix_file *file,
                              struct oar_err *err);
/* Removes the file, unless another one is at its path by now. Call it while the socket is open. */
void oar_unix_remove(const char *path, const struct oar_unix_file *file);

#endif

/* SPDX-License-Identifier: MIT
 * A growable run of bytes. Zero-initialised is empty and valid. */
#ifndef OARLOCK_BUF_H
#define OARLOCK_BUF_H

#include "oarlock/base.h"

struct oar_buf {
    char *data; /* owned */
    size_t len;
    size_t cap;
    bool failed; /* an allocation failed: contents are incomplete; checked once, at the end */
};

/* Room for `more` bytes behind the end; NULL (and failed) when there is no memory. */
char *oar_buf_room(struct oar_buf *b, size_t more);
/* Makes room for `more` bytes without going beyond `most` in all, which the contents never pass. An
 * allocation that fails here fails again, and is noticed, when the bytes are put. */
void oar_buf_room_within(struct oar_buf *b, size_t more, size_t most);
void oar_buf_put(struct oar_buf *b, const void *bytes, size_t len);
void oar_buf_printf(struct oar_buf *b, const char *fmt, ...) OAR_PRINTF(2, 3);
void oar_buf_free(struct oar_buf *b);

static inline void oar_buf_put_slice(struct oar_buf *b, struct oar_slice s)
{
    oar_buf_put(b, s.ptr, s.len);
}

/* Appends `s` as a JSON string, quotes included. Bytes that are not UTF-8 become U+FFFD. */
void oar_buf_put_json(struct oar_buf *b, struct oar_slice s);

#endif

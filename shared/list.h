/* SPDX-License-Identifier: MIT
 * A doubly linked, circular, intrusive list. The head is a link too; an unlinked link points to
 * itself. */
#ifndef OARLOCK_LIST_H
#define OARLOCK_LIST_H

#include "oarlock/base.h"

struct oar_link {
    struct oar_link *next, *prev;
};

static inline void oar_list_init(struct oar_link *l)
{
    l->next = l->prev = l;
}
static inline bool oar_list_empty(const struct oar_link *l)
{
    return l->next == l;
}
static inline void oar_list_remove(struct oar_link *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    oar_list_init(l);
}
static inline void oar_list_append(struct oar_link *head, struct oar_link *l)
{
    l->prev = head->prev;
    l->next = head;
    head->prev->next = l;
    head->prev = l;
}
/* The first link, taken out; NULL when the list is empty. */
static inline struct oar_link *oar_list_pop(struct oar_link *head)
{
    struct oar_link *l = head->next;
    if (l == head) {
        return NULL;
    }
    oar_list_remove(l);
    return l;
}

#endif

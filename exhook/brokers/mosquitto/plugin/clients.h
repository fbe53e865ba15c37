/* The clients that the broker has let in, so that whoever loses something can be found.
 *
 * They are known by the broker's handle, since for a moment two have the same client id while one takes the other's
 * place. A handle is never followed, and decides nothing: the broker uses it again at once. */
#ifndef EXHOOK_CLIENTS_H
#define EXHOOK_CLIENTS_H

#include "losses.h"

#define CLIENTS_LIMIT ((size_t)4 * 1000 * 1000)

struct client {
    const void *handle;
    struct client *next;
    uint64_t binding; /* as in the keys of the cache */
    bool doomed;      /* to be disconnected */
    bool check_reads; /* came back to a session from before something was taken from it */
    char *username;   /* in `text`, or NULL */
    char client_id[];
};

struct clients {
    struct client **buckets;
    size_t size;
    size_t count;
    size_t doomed;
    size_t sweep;    /* the bucket where the search for doomed clients goes on */
    bool incomplete; /* some client could not be remembered */
};

struct client *clients_find(const struct clients *clients, const void *handle);

/* Remember a client in place of whatever had its handle; NULL where that cannot be. */
struct client *clients_put(struct clients *clients, const void *handle, const char *client_id, const char *username);
void clients_remove(struct clients *clients, const void *handle);
void clients_free(struct clients *clients);

/* Mark those whom losses concern; how many. */
size_t clients_doom(struct clients *clients, const struct losses *losses);

/* One that is marked, or NULL. */
struct client *clients_doomed(struct clients *clients);

#endif

/* Decisions of a while ago. The key is all that was asked (client id, user name, address, certificate, access,
 * topic) and the binding that it was asked under, compared whole. A hit prolongs nothing; failures never come in. */
#ifndef EXHOOK_CACHE_H
#define EXHOOK_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A longer question is not kept: topics may have 65,535 bytes, and whoever sends such must not fill the memory. */
#define CACHE_KEY_LIMIT 1024

struct cache_entry;

struct cache_key {
    const void *asked;
    size_t len;
    uint64_t binding; /* which of its CONNECTs bound tokens to the client; 0 where none are */
};

struct cache {
    struct cache_entry **buckets;
    size_t mask;
    size_t count;
    size_t most; /* entries; 0 turns it off */
    int64_t keep_ms;
    uint64_t secret[2]; /* of the hash: nobody outside can make entries collide */
    struct cache_entry *newest;
    struct cache_entry *oldest;
};

bool cache_init(struct cache *cache, size_t most, int64_t keep_ms);
void cache_free(struct cache *cache);
void cache_clear(struct cache *cache);

/* Whether there is an answer to `key` at `now`, and which. */
bool cache_find(struct cache *cache, const struct cache_key *key, int64_t now, int *answer);
void cache_keep(struct cache *cache, const struct cache_key *key, int64_t now, int answer);

#endif

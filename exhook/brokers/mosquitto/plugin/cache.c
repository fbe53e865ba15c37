#include "cache.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct cache_entry {
    uint64_t hash;
    int64_t until;
    struct cache_entry *next; /* in its bucket */
    struct cache_entry *newer;
    struct cache_entry *older;
    int answer;
    uint64_t binding;
    size_t len;
    uint8_t key[];
};

static uint64_t rotate(uint64_t x, unsigned by) {
    return x << by | x >> (64 - by);
}

static void stir(uint64_t v[4], unsigned rounds) {
    while (rounds--) {
        v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
        v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
        v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
        v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
    }
}

/* SipHash-1-3. */
static uint64_t hash_of(const uint64_t secret[2], const struct cache_key *key) {
    const uint8_t *data = key->asked;
    size_t len = key->len;
    uint64_t v[] = {secret[0] ^ 0x736f6d6570736575, secret[1] ^ 0x646f72616e646f6d, secret[0] ^ 0x6c7967656e657261,
                    secret[1] ^ 0x7465646279746573};
    uint64_t word = key->binding;
    v[3] ^= word;
    stir(v, 1);
    v[0] ^= word;
    size_t left = len;
    for (; left >= sizeof word; data += sizeof word, left -= sizeof word) {
        memcpy(&word, data, sizeof word);
        v[3] ^= word;
        stir(v, 1);
        v[0] ^= word;
    }
    word = 0;
    memcpy(&word, data, left);
    word |= (uint64_t)len << 56;
    v[3] ^= word;
    stir(v, 1);
    v[0] ^= word;
    v[2] ^= 0xff;
    stir(v, 3);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

bool cache_init(struct cache *cache, size_t most, int64_t keep_ms) {
    *cache = (struct cache){.most = most, .keep_ms = keep_ms};
    if (most == 0)
        return true;
    size_t buckets = 64;
    while (buckets < most)
        buckets *= 2;
    cache->mask = buckets - 1;
    cache->buckets = calloc(buckets, sizeof *cache->buckets);
    return cache->buckets &&
           getrandom(cache->secret, sizeof cache->secret, 0) == (ssize_t)sizeof cache->secret;
}

static void remove_entry(struct cache *cache, struct cache_entry *entry) {
    struct cache_entry **at = &cache->buckets[entry->hash & cache->mask];
    while (*at != entry)
        at = &(*at)->next;
    *at = entry->next;
    *(entry->newer ? &entry->newer->older : &cache->newest) = entry->older;
    *(entry->older ? &entry->older->newer : &cache->oldest) = entry->newer;
    cache->count--;
    free(entry);
}

static void put_first(struct cache *cache, struct cache_entry *entry) {
    entry->newer = NULL;
    entry->older = cache->newest;
    *(cache->newest ? &cache->newest->newer : &cache->oldest) = entry;
    cache->newest = entry;
}

void cache_clear(struct cache *cache) {
    while (cache->oldest)
        remove_entry(cache, cache->oldest);
}

void cache_free(struct cache *cache) {
    cache_clear(cache);
    free(cache->buckets);
    *cache = (struct cache){0};
}

static bool is_of(const struct cache_entry *entry, uint64_t hash, const struct cache_key *key) {
    return entry->hash == hash && entry->binding == key->binding && entry->len == key->len &&
           memcmp(entry->key, key->asked, key->len) == 0;
}

static struct cache_entry *find(struct cache *cache, uint64_t hash, const struct cache_key *key) {
    struct cache_entry *entry = cache->buckets[hash & cache->mask];
    while (entry && !is_of(entry, hash, key))
        entry = entry->next;
    return entry;
}

bool cache_find(struct cache *cache, const struct cache_key *key, int64_t now, int *answer) {
    if (cache->count == 0 || key->len > CACHE_KEY_LIMIT)
        return false;
    struct cache_entry *entry = find(cache, hash_of(cache->secret, key), key);
    if (!entry)
        return false;
    if (now >= entry->until) {
        remove_entry(cache, entry);
        return false;
    }
    *answer = entry->answer;
    if (entry != cache->newest) { /* the least used goes first; its time stays what it was */
        *(entry->newer ? &entry->newer->older : &cache->newest) = entry->older;
        *(entry->older ? &entry->older->newer : &cache->oldest) = entry->newer;
        put_first(cache, entry);
    }
    return true;
}

void cache_keep(struct cache *cache, const struct cache_key *key, int64_t now, int answer) {
    if (cache->most == 0 || cache->keep_ms <= 0 || key->len == 0 || key->len > CACHE_KEY_LIMIT)
        return;
    uint64_t hash = hash_of(cache->secret, key);
    struct cache_entry *entry = find(cache, hash, key);
    if (entry)
        remove_entry(cache, entry);
    if (cache->count == cache->most)
        remove_entry(cache, cache->oldest);
    entry = malloc(sizeof *entry + key->len);
    if (!entry)
        return;
    *entry = (struct cache_entry){.hash = hash,
                                  .until = now + cache->keep_ms,
                                  .answer = answer,
                                  .binding = key->binding,
                                  .len = key->len};
    memcpy(entry->key, key->asked, key->len);
    entry->next = cache->buckets[hash & cache->mask];
    cache->buckets[hash & cache->mask] = entry;
    put_first(cache, entry);
    cache->count++;
}

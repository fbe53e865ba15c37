#include "losses.h"

#include <stdlib.h>
#include <string.h>

#define GROUP_END "@@@"
#define KEY_END "|"
#define FIRST_CAP 16

/* FNV-1a: the hash of a text is made from that of its beginning, so that all beginnings cost one walk. That somebody
 * makes names collide is no concern: they are the policy's, and nobody else's are put in. */
static uint64_t hash_start(enum loss_kind kind) {
    return 0xcbf29ce484222325U ^ (uint64_t)kind;
}

static uint64_t hash_byte(uint64_t hash, char byte) {
    return (hash ^ (uint8_t)byte) * 0x100000001b3U;
}

static uint64_t hash_text(enum loss_kind kind, const char *text, size_t len) {
    uint64_t hash = hash_start(kind);
    for (size_t i = 0; i < len; i++)
        hash = hash_byte(hash, text[i]);
    return hash;
}

/* Where a name stands in `places`, or the empty place where it would. */
static uint32_t *place(const struct losses *in, enum loss_kind kind, uint64_t hash, const char *name, size_t len) {
    size_t mask = in->cap * 2 - 1;
    for (size_t at = (size_t)(hash ^ hash >> 32) & mask;; at = (at + 1) & mask) {
        const struct loss *one = in->places[at] ? &in->all[in->places[at] - 1] : NULL;
        if (!one || (one->hash == hash && one->kind == kind && one->len == len && memcmp(one->name, name, len) == 0))
            return &in->places[at];
    }
}

static bool has(const struct losses *in, enum loss_kind kind, uint64_t hash, const char *name, size_t len) {
    return len < in->within[kind] && *place(in, kind, hash, name, len);
}

static bool has_text(const struct losses *in, enum loss_kind kind, const char *text) {
    size_t len = strlen(text);
    return len < in->within[kind] && has(in, kind, hash_text(kind, text, len), text, len);
}

static bool grow(struct losses *losses) {
    if (losses->count < losses->cap)
        return true;
    if (losses->cap == LOSSES_LIMIT)
        return false;
    size_t cap = losses->cap ? losses->cap * 2 : FIRST_CAP;
    struct loss *all = realloc(losses->all, cap * sizeof *all);
    if (all)
        losses->all = all;
    uint32_t *places = calloc(cap * 2, sizeof *places);
    if (!all || !places) {
        free(places);
        return false;
    }
    free(losses->places);
    losses->places = places;
    losses->cap = cap;
    for (size_t i = 0; i < losses->count; i++) {
        const struct loss *one = &losses->all[i];
        *place(losses, one->kind, one->hash, one->name, one->len) = (uint32_t)i + 1;
    }
    return true;
}

void losses_add(struct losses *to, unsigned kind, const uint8_t *name, size_t len) {
    if (to->everyone)
        return;
    enum loss_kind known = kind <= LOSS_ACCESS_KEY ? (enum loss_kind)kind : LOSS_UNKNOWN;
    const char *text = len ? (const char *)name : "";
    uint64_t hash = hash_text(known, text, len);
    if (known != LOSS_UNKNOWN && has(to, known, hash, text, len))
        return;
    char *copy = known != LOSS_UNKNOWN && grow(to) ? malloc(len + 1) : NULL;
    if (!copy) {
        to->everyone = true;
        return;
    }
    memcpy(copy, text, len);
    copy[len] = '\0';
    *place(to, known, hash, copy, len) = (uint32_t)to->count + 1;
    to->all[to->count++] = (struct loss){known, copy, len, hash};
    if (len >= to->within[known])
        to->within[known] = len + 1;
}

void losses_add_all(struct losses *to, const struct losses *from) {
    to->everyone = to->everyone || from->everyone;
    for (size_t i = 0; i < from->count; i++)
        losses_add(to, from->all[i].kind, (const uint8_t *)from->all[i].name, from->all[i].len);
}

void losses_free(struct losses *losses) {
    for (size_t i = 0; i < losses->count; i++)
        free(losses->all[i].name);
    free(losses->all);
    free(losses->places);
    *losses = (struct losses){0};
}

/* Whether a beginning of `text` that `end` stands after is among the names. */
static bool has_beginning(const struct losses *in, enum loss_kind kind, const char *text, const char *end) {
    uint64_t hash = hash_start(kind);
    for (size_t len = 0; len < in->within[kind]; hash = hash_byte(hash, text[len++])) {
        if (strncmp(text + len, end, strlen(end)) == 0 && has(in, kind, hash, text, len))
            return true;
        if (!text[len])
            return false;
    }
    return false;
}

/* Signature|KEY|instance and Token|KEY|instance, each with a tail of its own. */
static bool has_key(const struct losses *in, const char *username) {
    static const char *const modes[] = {"Signature|", "Token|"};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        size_t len = strlen(modes[i]);
        if (strncmp(username, modes[i], len) == 0 && has_beginning(in, LOSS_ACCESS_KEY, username + len, KEY_END))
            return true;
    }
    return false;
}

bool losses_concern(const struct losses *losses, const char *client_id, const char *username) {
    const char *name = username ? username : "";
    return losses->everyone || has_text(losses, LOSS_USER, name) || has_text(losses, LOSS_CLIENT, client_id) ||
           has_beginning(losses, LOSS_GROUP, client_id, GROUP_END) || has_key(losses, name);
}

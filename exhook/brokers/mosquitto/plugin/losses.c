#include "losses.h"

#include <stdlib.h>
#include <string.h>

static bool is_kept(const struct losses *in, unsigned kind, const uint8_t *name, size_t len) {
    for (size_t i = 0; i < in->count; i++) {
        const struct loss *one = &in->all[i];
        if (one->kind == kind && one->len == len && memcmp(one->name, name, len) == 0)
            return true;
    }
    return false;
}

void losses_add(struct losses *to, unsigned kind, const uint8_t *name, size_t len) {
    if (to->everyone || (kind != LOSS_UNKNOWN && is_kept(to, kind, name, len)))
        return;
    if (to->count == to->cap && to->cap < LOSSES_LIMIT) {
        size_t cap = to->cap ? to->cap * 2 : 16;
        struct loss *all = realloc(to->all, cap * sizeof *all);
        if (all) {
            to->all = all;
            to->cap = cap;
        }
    }
    char *copy = malloc(len + 1);
    if (to->count == to->cap || !copy || kind == LOSS_UNKNOWN || kind > LOSS_ACCESS_KEY) {
        free(copy);
        to->everyone = true;
        return;
    }
    if (len)
        memcpy(copy, name, len);
    copy[len] = '\0';
    to->all[to->count++] = (struct loss){(enum loss_kind)kind, copy, len};
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
    *losses = (struct losses){0};
}

/* Whether `text` is `part`, where `end` stands after it. */
static bool begins(const char *text, const struct loss *part, const char *end) {
    return strncmp(text, part->name, part->len) == 0 && strncmp(text + part->len, end, strlen(end)) == 0;
}

/* Signature|KEY|instance and Token|KEY|instance, each with a tail of its own. */
static bool has_key(const char *username, const struct loss *key) {
    static const char *const modes[] = {"Signature|", "Token|"};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        size_t len = strlen(modes[i]);
        if (strncmp(username, modes[i], len) == 0 && begins(username + len, key, "|"))
            return true;
    }
    return false;
}

static bool concerns(const struct loss *loss, const char *client_id, const char *username) {
    /* A name with a NUL is no client's. */
    if (strlen(loss->name) != loss->len)
        return false;
    switch (loss->kind) {
    case LOSS_USER:
        return strcmp(username, loss->name) == 0;
    case LOSS_CLIENT:
        return strcmp(client_id, loss->name) == 0;
    case LOSS_GROUP:
        return begins(client_id, loss, "@@@");
    case LOSS_ACCESS_KEY:
        return has_key(username, loss);
    default:
        return true;
    }
}

bool losses_concern(const struct losses *losses, const char *client_id, const char *username) {
    if (losses->everyone)
        return true;
    for (size_t i = 0; i < losses->count; i++)
        if (concerns(&losses->all[i], client_id, username ? username : ""))
            return true;
    return false;
}

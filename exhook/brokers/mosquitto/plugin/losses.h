/* Who lost something by changes of the policy, as the server tells it; and whom that concerns. */
#ifndef EXHOOK_LOSSES_H
#define EXHOOK_LOSSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* More than this, and it is everyone. A power of two. */
#define LOSSES_LIMIT 4096

/* exhook.bridge.v1.Loss.Kind */
enum loss_kind { LOSS_UNKNOWN, LOSS_USER, LOSS_CLIENT, LOSS_GROUP, LOSS_ACCESS_KEY };

struct loss {
    enum loss_kind kind;
    char *name;
    size_t len;
    uint64_t hash;
};

struct losses {
    struct loss *all;
    size_t count;
    size_t cap;
    uint32_t *places; /* by hash, twice as many as `cap`: where a name stands in `all`, counted from 1 */
    size_t within[LOSS_ACCESS_KEY + 1]; /* names of a kind are shorter than this */
    bool everyone;
};

/* A kind that this plugin does not know, and whatever cannot be kept, counts as everyone. */
void losses_add(struct losses *to, unsigned kind, const uint8_t *name, size_t len);
void losses_add_all(struct losses *to, const struct losses *from);
void losses_free(struct losses *losses);

/* Whether a client is concerned; `username` may be NULL. It costs the same however many have lost something, since
 * it is asked for each client that a broker has. */
bool losses_concern(const struct losses *losses, const char *client_id, const char *username);

#endif

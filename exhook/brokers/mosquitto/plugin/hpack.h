/* Header compression (RFC 7541): a full decoder; an encoder that writes literals and no more, so that the same
 * headers are the same bytes in every call, which a server may recognize without decoding them. */
#ifndef EXHOOK_HPACK_H
#define EXHOOK_HPACK_H

#include "bytes.h"

#define HPACK_TABLE_SIZE 4096
/* An entry counts 32 bytes more than its text. */
#define HPACK_ENTRIES (HPACK_TABLE_SIZE / 32)

struct hpack_entry {
    char *text; /* name, then value */
    size_t name_len;
    size_t value_len;
};

struct hpack {
    struct hpack_entry entries[HPACK_ENTRIES + 1]; /* newest first */
    size_t count;
    size_t size;
    size_t limit;
};

struct hpack_text {
    const char *data;
    size_t len;
};

typedef void (*hpack_header)(void *to, struct hpack_text name, struct hpack_text value);

void hpack_init(struct hpack *table);
void hpack_free(struct hpack *table);

/* Tell every header of a block to `header`; false where the block is malformed, and the table with it. */
bool hpack_decode(struct hpack *table, const uint8_t *block, size_t len, hpack_header header, void *to);

void hpack_add(struct bytes *to, const char *name, const char *value);

#endif

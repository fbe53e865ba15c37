#include "bytes.h"

#include <stdlib.h>
#include <string.h>

static bool grow(struct bytes *what, size_t wanted) {
    if (wanted <= what->cap)
        return true;
    if (wanted > BYTES_LIMIT)
        return false;
    size_t cap = what->cap ? what->cap : 256;
    while (cap < wanted)
        cap *= 2;
    /* Not realloc: it would leave a copy of a password behind. */
    uint8_t *data = malloc(cap);
    if (!data)
        return false;
    if (what->data) {
        memcpy(data, what->data, what->len);
        explicit_bzero(what->data, what->cap);
        free(what->data);
    }
    what->data = data;
    what->cap = cap;
    return true;
}

void bytes_add(struct bytes *to, const void *data, size_t len) {
    if (to->failed || len == 0)
        return;
    if (len > BYTES_LIMIT || !grow(to, to->len + len)) {
        to->failed = true;
        return;
    }
    memcpy(to->data + to->len, data, len);
    to->len += len;
}

void bytes_add_byte(struct bytes *to, uint8_t byte) {
    bytes_add(to, &byte, 1);
}

void bytes_drop(struct bytes *from, size_t len) {
    if (len == 0)
        return;
    from->len -= len;
    memmove(from->data, from->data + len, from->len);
}

void bytes_clear(struct bytes *what) {
    what->len = 0;
    what->failed = false;
}

void bytes_free(struct bytes *what) {
    bytes_wipe(what);
    free(what->data);
    *what = (struct bytes){0};
}

void bytes_wipe(struct bytes *what) {
    if (what->data)
        explicit_bzero(what->data, what->cap);
    bytes_clear(what);
}

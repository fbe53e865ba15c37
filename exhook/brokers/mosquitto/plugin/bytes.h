/* A buffer that grows, up to a limit. Once it could not, it stays `failed`: what was written into it is not whole. */
#ifndef EXHOOK_BYTES_H
#define EXHOOK_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BYTES_LIMIT ((size_t)1024 * 1024)

struct bytes {
    uint8_t *data;
    size_t len;
    size_t cap;
    bool failed;
};

void bytes_add(struct bytes *to, const void *data, size_t len);
void bytes_add_byte(struct bytes *to, uint8_t byte);
void bytes_drop(struct bytes *from, size_t len); /* the first `len` */
void bytes_clear(struct bytes *what);            /* keeps the memory */
void bytes_free(struct bytes *what);
void bytes_wipe(struct bytes *what); /* clears, and overwrites what stood there: it may have been a password */

#endif

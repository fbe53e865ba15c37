/* Protocol buffers: what is needed to write requests and to read answers. */
#ifndef EXHOOK_PROTO_H
#define EXHOOK_PROTO_H

#include "bytes.h"

/* Empty strings, zeros and falses are left out, as proto3 has it. */
void proto_add_bytes(struct bytes *to, unsigned field, const void *data, size_t len);
void proto_add_text(struct bytes *to, unsigned field, const char *text); /* may be NULL */
void proto_add_number(struct bytes *to, unsigned field, uint64_t value);
void proto_add_message(struct bytes *to, unsigned field, const struct bytes *message);

enum proto_type { PROTO_NUMBER = 0, PROTO_FIXED64 = 1, PROTO_BYTES = 2, PROTO_FIXED32 = 5 };

struct proto_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool malformed;
};

struct proto_field {
    unsigned number;
    unsigned type;
    uint64_t value;      /* of PROTO_NUMBER */
    const uint8_t *data; /* of PROTO_BYTES */
    size_t len;
};

/* The next field; false at the end, and where the bytes are no message (`malformed` tells). */
bool proto_next(struct proto_reader *from, struct proto_field *field);

#endif

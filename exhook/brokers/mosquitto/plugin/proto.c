#include "proto.h"

#include <string.h>

static void add_varint(struct bytes *to, uint64_t value) {
    while (value >= 0x80) {
        bytes_add_byte(to, (uint8_t)(value | 0x80));
        value >>= 7;
    }
    bytes_add_byte(to, (uint8_t)value);
}

static void add_tag(struct bytes *to, unsigned field, enum proto_type type) {
    add_varint(to, (uint64_t)field << 3 | type);
}

void proto_add_bytes(struct bytes *to, unsigned field, const void *data, size_t len) {
    if (len == 0)
        return;
    add_tag(to, field, PROTO_BYTES);
    add_varint(to, len);
    bytes_add(to, data, len);
}

void proto_add_text(struct bytes *to, unsigned field, const char *text) {
    if (text)
        proto_add_bytes(to, field, text, strlen(text));
}

void proto_add_number(struct bytes *to, unsigned field, uint64_t value) {
    if (value == 0)
        return;
    add_tag(to, field, PROTO_NUMBER);
    add_varint(to, value);
}

void proto_add_message(struct bytes *to, unsigned field, const struct bytes *message) {
    proto_add_bytes(to, field, message->data, message->len);
    to->failed = to->failed || message->failed;
}

static uint64_t read_varint(struct proto_reader *from) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (from->at == from->end)
            break;
        uint8_t byte = *from->at++;
        if (shift == 63 && byte > 1)
            break;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return value;
    }
    from->malformed = true;
    return 0;
}

static void skip(struct proto_reader *from, size_t len) {
    if ((size_t)(from->end - from->at) < len)
        from->malformed = true;
    else
        from->at += len;
}

bool proto_next(struct proto_reader *from, struct proto_field *field) {
    if (from->malformed || from->at == from->end)
        return false;
    uint64_t tag = read_varint(from);
    *field = (struct proto_field){.number = (unsigned)(tag >> 3), .type = (unsigned)(tag & 7)};
    if (tag > UINT32_MAX || field->number == 0)
        from->malformed = true;
    if (from->malformed)
        return false;
    switch (field->type) {
    case PROTO_NUMBER:
        field->value = read_varint(from);
        break;
    case PROTO_FIXED64:
        skip(from, 8);
        break;
    case PROTO_FIXED32:
        skip(from, 4);
        break;
    case PROTO_BYTES: {
        uint64_t len = read_varint(from);
        field->data = from->at;
        field->len = (size_t)len;
        skip(from, field->len);
        break;
    }
    default:
        from->malformed = true;
    }
    return !from->malformed;
}

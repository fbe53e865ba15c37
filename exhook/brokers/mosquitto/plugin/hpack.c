#include "hpack.h"

#include "huffman.h"

#include <stdlib.h>
#include <string.h>

#define OVERHEAD 32
/* What one block may unfold to, as SETTINGS_MAX_HEADER_LIST_SIZE counts it. */
#define LIST_LIMIT ((size_t)64 * 1024)

/* RFC 7541, appendix A. */
static const struct {
    const char *name;
    const char *value;
} STATIC[] = {
    {":authority", ""},
    {":method", "GET"},
    {":method", "POST"},
    {":path", "/"},
    {":path", "/index.html"},
    {":scheme", "http"},
    {":scheme", "https"},
    {":status", "200"},
    {":status", "204"},
    {":status", "206"},
    {":status", "304"},
    {":status", "400"},
    {":status", "404"},
    {":status", "500"},
    {"accept-charset", ""},
    {"accept-encoding", "gzip, deflate"},
    {"accept-language", ""},
    {"accept-ranges", ""},
    {"accept", ""},
    {"access-control-allow-origin", ""},
    {"age", ""},
    {"allow", ""},
    {"authorization", ""},
    {"cache-control", ""},
    {"content-disposition", ""},
    {"content-encoding", ""},
    {"content-language", ""},
    {"content-length", ""},
    {"content-location", ""},
    {"content-range", ""},
    {"content-type", ""},
    {"cookie", ""},
    {"date", ""},
    {"etag", ""},
    {"expect", ""},
    {"expires", ""},
    {"from", ""},
    {"host", ""},
    {"if-match", ""},
    {"if-modified-since", ""},
    {"if-none-match", ""},
    {"if-range", ""},
    {"if-unmodified-since", ""},
    {"last-modified", ""},
    {"link", ""},
    {"location", ""},
    {"max-forwards", ""},
    {"proxy-authenticate", ""},
    {"proxy-authorization", ""},
    {"range", ""},
    {"referer", ""},
    {"refresh", ""},
    {"retry-after", ""},
    {"server", ""},
    {"set-cookie", ""},
    {"strict-transport-security", ""},
    {"transfer-encoding", ""},
    {"user-agent", ""},
    {"vary", ""},
    {"via", ""},
    {"www-authenticate", ""},
};
#define STATICS (sizeof STATIC / sizeof *STATIC)

struct reader {
    const uint8_t *at;
    const uint8_t *end;
};

/* An integer with a prefix of `bits` bits; nothing here is longer than 2^28. */
static bool read_integer(struct reader *from, unsigned bits, size_t *value) {
    if (from->at == from->end)
        return false;
    size_t mask = (1U << bits) - 1;
    *value = *from->at++ & mask;
    if (*value < mask)
        return true;
    for (unsigned shift = 0; shift <= 21; shift += 7) {
        if (from->at == from->end)
            return false;
        uint8_t byte = *from->at++;
        *value += (size_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

static bool read_string(struct reader *from, struct bytes *to) {
    if (from->at == from->end)
        return false;
    bool huffman = *from->at & 0x80;
    size_t len;
    if (!read_integer(from, 7, &len) || len > (size_t)(from->end - from->at))
        return false;
    const uint8_t *data = from->at;
    from->at += len;
    bytes_clear(to);
    if (huffman)
        return huffman_decode(data, len, to);
    bytes_add(to, data, len);
    return !to->failed;
}

static struct hpack_text text(const struct bytes *what) {
    return (struct hpack_text){(const char *)what->data, what->len};
}

static struct hpack_text literal(const char *what) {
    return (struct hpack_text){what, strlen(what)};
}

static bool look_up(const struct hpack *table, size_t index, struct hpack_text *name, struct hpack_text *value) {
    if (index == 0)
        return false;
    if (index <= STATICS) {
        *name = literal(STATIC[index - 1].name);
        *value = literal(STATIC[index - 1].value);
        return true;
    }
    index -= STATICS + 1;
    if (index >= table->count)
        return false;
    const struct hpack_entry *entry = &table->entries[index];
    *name = (struct hpack_text){entry->text, entry->name_len};
    *value = (struct hpack_text){entry->text + entry->name_len, entry->value_len};
    return true;
}

static void evict(struct hpack *table, size_t limit) {
    while (table->size > limit) {
        struct hpack_entry *last = &table->entries[--table->count];
        table->size -= last->name_len + last->value_len + OVERHEAD;
        free(last->text);
    }
}

static bool insert(struct hpack *table, struct hpack_text name, struct hpack_text value) {
    size_t size = name.len + value.len + OVERHEAD;
    if (size > table->limit) {
        evict(table, 0);
        return true;
    }
    /* Copied first: the name may be that of an entry which goes to make room. */
    char *copy = malloc(name.len + value.len + 1);
    if (!copy)
        return false;
    if (name.len)
        memcpy(copy, name.data, name.len);
    if (value.len)
        memcpy(copy + name.len, value.data, value.len);
    evict(table, table->limit - size);
    memmove(table->entries + 1, table->entries, table->count * sizeof *table->entries);
    table->entries[0] = (struct hpack_entry){copy, name.len, value.len};
    table->count++;
    table->size += size;
    return true;
}

static bool resize(struct hpack *table, struct reader *from) {
    size_t limit;
    if (!read_integer(from, 5, &limit) || limit > HPACK_TABLE_SIZE)
        return false;
    table->limit = limit;
    evict(table, limit);
    return true;
}

struct decoding {
    struct hpack *table;
    struct reader from;
    struct bytes name;
    struct bytes value;
    size_t unfolded;
};

static bool next_header(struct decoding *at, hpack_header header, void *to) {
    uint8_t first = *at->from.at;
    bool whole = first & 0x80;
    bool indexed = !whole && (first & 0x40);
    size_t index;
    struct hpack_text name;
    struct hpack_text value;
    if (!read_integer(&at->from, whole ? 7 : indexed ? 6 : 4, &index))
        return false;
    if (whole) {
        if (!look_up(at->table, index, &name, &value))
            return false;
    } else {
        if (index) {
            if (!look_up(at->table, index, &name, &value))
                return false;
        } else {
            if (!read_string(&at->from, &at->name))
                return false;
            name = text(&at->name);
        }
        if (!read_string(&at->from, &at->value))
            return false;
        value = text(&at->value);
    }
    at->unfolded += name.len + value.len + OVERHEAD;
    if (at->unfolded > LIST_LIMIT)
        return false;
    header(to, name, value);
    return !indexed || insert(at->table, name, value);
}

bool hpack_decode(struct hpack *table, const uint8_t *block, size_t len, hpack_header header, void *to) {
    struct decoding at = {.table = table, .from = {block, block + len}};
    bool good = true;
    bool resizable = true; /* a change of size stands at the beginning alone */
    while (good && at.from.at != at.from.end) {
        if ((*at.from.at & 0xe0) == 0x20) {
            good = resizable && resize(table, &at.from);
        } else {
            resizable = false;
            good = next_header(&at, header, to);
        }
    }
    bytes_free(&at.name);
    bytes_free(&at.value);
    return good;
}

void hpack_init(struct hpack *table) {
    *table = (struct hpack){.limit = HPACK_TABLE_SIZE};
}

void hpack_free(struct hpack *table) {
    evict(table, 0);
}

static void add_string(struct bytes *to, const char *what) {
    size_t len = strlen(what);
    if (len < 0x7f) {
        bytes_add_byte(to, (uint8_t)len);
    } else {
        bytes_add_byte(to, 0x7f);
        size_t rest = len - 0x7f;
        for (; rest >= 0x80; rest >>= 7)
            bytes_add_byte(to, (uint8_t)(rest | 0x80));
        bytes_add_byte(to, (uint8_t)rest);
    }
    bytes_add(to, what, len);
}

void hpack_add(struct bytes *to, const char *name, const char *value) {
    bytes_add_byte(to, 0);
    add_string(to, name);
    add_string(to, value);
}

/* Lets tests call the parts of the plugin that read what a server sends. Reads commands on standard input, an
 * operation, a length and so many bytes; answers each with one line. Built with sanitizers, which end it at once. */
#include "abi.h"
#include "cache.h"
#include "changes.h"
#include "clients.h"
#include "clock.h"
#include "http2.h"
#include "question.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT_MS 30

void mosquitto_log_printf(int level, const char *format, ...) {
    (void)level, (void)format;
}

struct input {
    const uint8_t *at;
    const uint8_t *end;
};

static uint32_t number(struct input *from) {
    if (from->end - from->at < 4)
        abort();
    uint32_t value = (uint32_t)from->at[0] << 24 | (uint32_t)from->at[1] << 16 | (uint32_t)from->at[2] << 8 | from->at[3];
    from->at += 4;
    return value;
}

/* A copy of its own, so that reading past its end is seen. */
static uint8_t *chunk(struct input *from, size_t *len) {
    *len = number(from);
    if ((size_t)(from->end - from->at) < *len)
        abort();
    uint8_t *copy = malloc(*len ? *len : 1);
    memcpy(copy, from->at, *len);
    from->at += *len;
    return copy;
}

static void hex(const void *data, size_t len) {
    for (size_t i = 0; i < len; i++)
        printf("%02x", ((const uint8_t *)data)[i]);
}

static void on_header(void *to, struct hpack_text name, struct hpack_text value) {
    (void)to;
    hex(name.data, name.len);
    putchar('=');
    hex(value.data, value.len);
    putchar(' ');
}

/* Header blocks, one after the other, with one table. */
static void headers(struct input in) {
    struct hpack table;
    hpack_init(&table);
    bool good = true;
    while (good && in.at != in.end) {
        size_t len;
        uint8_t *block = chunk(&in, &len);
        good = hpack_decode(&table, block, len, on_header, NULL);
        free(block);
        printf("; ");
    }
    puts(good ? "good" : "bad");
    hpack_free(&table);
}

static void verdict(struct input in) {
    printf("%d\n", (int)question_verdict(in.at, (size_t)(in.end - in.at)));
}

static void changes(struct input in) {
    struct changes_watch watch;
    struct losses losses = {0};
    changes_init(&watch);
    int news = (int)changes_answer(&watch, in.at, (size_t)(in.end - in.at), &losses);
    printf("%d %llu %d", news, (unsigned long long)watch.since, losses.everyone);
    for (size_t i = 0; i < losses.count; i++) {
        printf(" %d=", (int)losses.all[i].kind);
        hex(losses.all[i].name, losses.all[i].len);
    }
    printf(" %d\n", losses_concern(&losses, "GID_x@@@1", "Token|key|mqtt"));
    losses_free(&losses);
    changes_free(&watch);
}

/* Losses, each a kind and a name; then clients, each an id and a user name: whom they concern. */
static void concerned(struct input in) {
    struct losses losses = {0};
    struct clients clients = {0};
    for (uint32_t left = number(&in); left; left--) {
        unsigned kind = number(&in);
        size_t len;
        uint8_t *name = chunk(&in, &len);
        losses_add(&losses, kind, name, len);
        free(name);
    }
    uint32_t count = number(&in);
    for (uintptr_t handle = 1; handle <= count; handle++) {
        char *texts[2];
        for (size_t i = 0; i < 2; i++) {
            size_t len;
            uint8_t *text = chunk(&in, &len);
            texts[i] = strndup((const char *)text, len);
            free(text);
        }
        clients_put(&clients, (const void *)handle, texts[0], texts[1]);
        free(texts[0]);
        free(texts[1]);
    }
    clients_doom(&clients, &losses);
    printf("%zu ", losses.count);
    for (uintptr_t handle = 1; handle <= count; handle++)
        putchar(clients_find(&clients, (const void *)handle)->doomed ? '1' : '0');
    puts("");
    clients_free(&clients);
    losses_free(&losses);
}

static void begin(struct h2 *connection, int *peer, size_t message_len) {
    int pair[2];
    struct bytes block = {0};
    struct bytes message = {0};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair))
        abort();
    h2_init(connection);
    h2_begin(connection, pair[0]);
    h2_headers(&block, "/test/Call", "localhost", 300);
    for (size_t i = 0; i < message_len; i++)
        bytes_add_byte(&message, (uint8_t)i);
    h2_call(connection, &block, &message);
    bytes_free(&block);
    bytes_free(&message);
    *peer = pair[1];
}

/* What a client says: to a server that sends these chunks, up to its end. */
static void call(struct input in) {
    struct h2 connection;
    int peer;
    size_t said_len = 0;
    static uint8_t said[1 << 20];
    size_t message_len = number(&in);
    bool hang_up = number(&in);
    begin(&connection, &peer, message_len);
    h2_step(&connection);
    while (in.at != in.end) {
        size_t len;
        uint8_t *data = chunk(&in, &len);
        for (size_t sent = 0; sent < len;) {
            ssize_t wrote = write(peer, data + sent, len - sent);
            if (wrote > 0)
                sent += (size_t)wrote;
            else if (connection.result != H2_PENDING)
                break;
            h2_step(&connection);
        }
        free(data);
        h2_step(&connection);
        ssize_t got = read(peer, said + said_len, sizeof said - said_len);
        said_len += got > 0 ? (size_t)got : 0;
    }
    if (hang_up)
        shutdown(peer, SHUT_WR);
    enum h2_result result = h2_wait(&connection, clock_ms() + WAIT_MS);
    for (ssize_t got; (got = read(peer, said + said_len, sizeof said - said_len)) > 0;)
        said_len += (size_t)got;
    printf("%d %d %d ", (int)result, connection.grpc_status, connection.going);
    if (result == H2_ANSWERED) {
        size_t len;
        const uint8_t *answer = h2_message(&connection, &len);
        hex(answer, len);
    }
    putchar(' ');
    hex(said, said_len);
    putchar('\n');
    h2_close(&connection);
    close(peer);
}

/* Keys to keep (k) and to find (f), each with a time and a binding. */
static void cached(struct input in) {
    struct cache cache;
    size_t most = number(&in);
    int64_t keep_ms = number(&in);
    if (!cache_init(&cache, most, keep_ms))
        abort();
    while (in.at != in.end) {
        uint32_t operation = number(&in);
        int64_t now = number(&in);
        int answer = (int)number(&in);
        struct cache_key key = {.binding = number(&in)};
        uint8_t *asked = chunk(&in, &key.len);
        key.asked = asked;
        if (operation == 'k') {
            cache_keep(&cache, &key, now, answer);
        } else if (operation == 'c') {
            cache_clear(&cache);
        } else if (cache_find(&cache, &key, now, &answer)) {
            printf("%d ", answer);
        } else {
            printf("- ");
        }
        free(asked);
    }
    puts("");
    cache_free(&cache);
}

int main(void) {
    uint8_t head[5];
    while (fread(head, 1, sizeof head, stdin) == sizeof head) {
        struct input length = {head + 1, head + 5};
        size_t len = number(&length);
        uint8_t *data = malloc(len ? len : 1);
        if (fread(data, 1, len, stdin) != len)
            return 1;
        struct input in = {data, data + len};
        switch (head[0]) {
        case 'H':
            headers(in);
            break;
        case 'V':
            verdict(in);
            break;
        case 'C':
            changes(in);
            break;
        case 'L':
            concerned(in);
            break;
        case 'A':
            call(in);
            break;
        case 'K':
            cached(in);
            break;
        default:
            return 1;
        }
        free(data);
        fflush(stdout);
    }
    return 0;
}

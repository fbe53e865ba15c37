#include "changes.h"

#include "abi.h"
#include "proto.h"

#include <string.h>

#define UNIMPLEMENTED 12
#define CHANGES_RARELY_MS 60000 /* of a server that does not know the question */
#define LOOK_EVERY_MS 5 /* a busy broker ticks after every packet */

void changes_init(struct changes_watch *watch) {
    *watch = (struct changes_watch){0};
    h2_init(&watch->connection);
}

void changes_free(struct changes_watch *watch) {
    h2_close(&watch->connection);
}

void changes_request(const struct changes_watch *watch, const char *instance, bool certificate, struct bytes *to) {
    proto_add_text(to, 1, instance);
    proto_add_text(to, 2, watch->store);
    proto_add_number(to, 3, watch->since);
    proto_add_number(to, 4, certificate);
}

static bool read_loss(const struct proto_field *from, struct losses *to) {
    struct proto_reader reader = {from->data, from->data + from->len, false};
    struct proto_field field;
    unsigned kind = LOSS_UNKNOWN;
    const uint8_t *name = NULL;
    size_t len = 0;
    while (proto_next(&reader, &field)) {
        if (field.number == 1 && field.type == PROTO_NUMBER)
            kind = field.value > LOSS_ACCESS_KEY ? LOSS_UNKNOWN : (unsigned)field.value;
        if (field.number == 2 && field.type == PROTO_BYTES) {
            name = field.data;
            len = field.len;
        }
    }
    if (!reader.malformed)
        losses_add(to, kind, name, len);
    return !reader.malformed;
}

static bool read_changes(const uint8_t *answer, size_t len, struct changes *to) {
    struct proto_reader reader = {answer, answer + len, false};
    struct proto_field field;
    while (proto_next(&reader, &field)) {
        if (field.number == 1 && field.type == PROTO_BYTES) {
            if (field.len == 0 || field.len >= sizeof to->store || memchr(field.data, 0, field.len))
                return false;
            memcpy(to->store, field.data, field.len);
            to->store[field.len] = '\0';
        } else if (field.number == 2 && field.type == PROTO_NUMBER) {
            to->revision = field.value;
        } else if (field.number == 3 && field.type == PROTO_NUMBER) {
            to->losses.everyone = to->losses.everyone || field.value;
        } else if (field.number == 4 && field.type == PROTO_BYTES) {
            if (!read_loss(&field, &to->losses))
                return false;
        }
    }
    return !reader.malformed && to->store[0];
}

enum changes_news changes_answer(struct changes_watch *watch, const uint8_t *answer, size_t len, struct losses *losses) {
    struct changes changes = {0};
    enum changes_news news = CHANGES_NONE;
    if (read_changes(answer, len, &changes)) {
        bool same = watch->known && watch->since == changes.revision && strcmp(watch->store, changes.store) == 0;
        bool nobody = !changes.losses.everyone && changes.losses.count == 0;
        news = same && nobody ? CHANGES_SAME : CHANGES_NEW;
        memcpy(watch->store, changes.store, sizeof watch->store);
        watch->since = changes.revision;
        watch->known = true;
        watch->unavailable = false;
        losses_add_all(losses, &changes.losses);
    }
    losses_free(&changes.losses);
    return news;
}

static void stop(struct changes_watch *watch, int64_t now) {
    h2_close(&watch->connection);
    watch->asked = false;
    watch->next = now + CHANGES_EVERY_MS;
}

static void ask(struct changes_watch *watch, const struct address *address, const struct bytes *headers,
                const struct bytes *request, int64_t now) {
    if (h2_is_open(&watch->connection)) {
        h2_step(&watch->connection);
        if (watch->connection.going)
            h2_close(&watch->connection);
    }
    if (!h2_is_open(&watch->connection) && !h2_open(&watch->connection, address)) {
        stop(watch, now);
        return;
    }
    h2_call(&watch->connection, headers, request);
    watch->asked = true;
    watch->next = now + CHANGES_PATIENCE_MS;
}

void changes_refused(struct changes_watch *watch, int grpc_status) {
    if (grpc_status == UNIMPLEMENTED && !watch->unavailable) {
        watch->unavailable = true;
        watch->known = false;
        watch->store[0] = '\0';
        watch->since = 0;
        mosquitto_log_printf(ABI_LOG_WARNING, "exhook: the server does not tell of changes; who loses a right is "
                                              "refused once the cache has forgotten, and not disconnected");
    }
}

enum changes_news changes_tick(struct changes_watch *watch, const struct address *address, const struct bytes *headers,
                               const struct bytes *request, int64_t now, struct losses *losses) {
    if (now - watch->looked < LOOK_EVERY_MS)
        return CHANGES_NONE;
    watch->looked = now;
    int64_t until = now;
    if (!watch->asked) {
        if (now < watch->next)
            return CHANGES_NONE;
        ask(watch, address, headers, request, now);
        until = now + CHANGES_MOMENT_MS;
    }
    enum changes_news news = CHANGES_NONE;
    enum h2_result result = watch->asked ? h2_linger(&watch->connection, until) : H2_PENDING;
    if (result == H2_PENDING) {
        if (watch->asked && now >= watch->next)
            stop(watch, now);
        return CHANGES_NONE;
    }
    if (result == H2_ANSWERED) {
        size_t len;
        const uint8_t *answer = h2_message(&watch->connection, &len);
        news = changes_answer(watch, answer, len, losses);
    } else if (result == H2_REFUSED) {
        changes_refused(watch, watch->connection.grpc_status);
    }
    watch->asked = false;
    watch->next = now + (watch->unavailable ? CHANGES_RARELY_MS : CHANGES_EVERY_MS);
    if (result != H2_REFUSED && news == CHANGES_NONE)
        h2_close(&watch->connection);
    return news;
}

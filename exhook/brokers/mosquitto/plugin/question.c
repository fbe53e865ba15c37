#include "question.h"

#include "certificate.h"
#include "proto.h"
#include "version.h"

#include <arpa/inet.h>
#include <string.h>

#define TOKEN_MODE "Token|" /* how the user names of such clients begin */

enum response { CONTINUE, IGNORE, STOP_AND_RETURN };

void question_add_meta(struct bytes *to, unsigned number, const struct options *options) {
    struct bytes meta = {0};
    proto_add_text(&meta, 1, options->node);
    proto_add_text(&meta, 2, EXHOOK_VERSION);
    proto_add_text(&meta, 3, options->certificate ? "Mosquitto, certificates prove" : "Mosquitto");
    proto_add_text(&meta, 4, options->instance);
    proto_add_message(to, number, &meta);
    bytes_free(&meta);
}

void question_loaded(struct bytes *to, const struct options *options) {
    struct bytes broker = {0};
    proto_add_text(&broker, 1, EXHOOK_VERSION);
    proto_add_text(&broker, 2, "Mosquitto");
    proto_add_message(to, 1, &broker);
    question_add_meta(to, 2, options);
    bytes_free(&broker);
}

/* The address of a client, where it is one: on a unix socket it is the socket's path. */
static const char *address_of(const struct mosquitto *client) {
    const char *address = mosquitto_client_address(client);
    struct in6_addr parsed;
    if (address && (inet_pton(AF_INET, address, &parsed) == 1 || inet_pton(AF_INET6, address, &parsed) == 1))
        return address;
    return "";
}

static bool add_certificate(struct bytes *to, const struct mosquitto *client) {
    void *x509 = mosquitto_client_certificate(client);
    if (!x509)
        return true;
    struct bytes common_name = {0};
    struct bytes subject = {0};
    bool good = certificate_read(x509, &common_name, &subject);
    proto_add_bytes(to, 11, common_name.data, common_name.len);
    proto_add_bytes(to, 12, subject.data, subject.len);
    bytes_free(&common_name);
    bytes_free(&subject);
    return good;
}

/* Field 1 of a request: ClientInfo. */
static bool add_client(struct bytes *to, const struct mosquitto *client, const char *username, const char *password) {
    const char *client_id = mosquitto_client_id(client);
    if (!client_id)
        return false;
    struct bytes info = {0};
    proto_add_text(&info, 2, client_id);
    proto_add_text(&info, 3, username);
    proto_add_text(&info, 4, password);
    proto_add_text(&info, 5, address_of(client));
    proto_add_text(&info, 7, "mqtt");
    proto_add_number(&info, 10, !username);
    bool good = add_certificate(&info, client);
    proto_add_message(to, 1, &info);
    bytes_free(&info);
    return good && !to->failed;
}

static bool is_by_token(const char *username) {
    return username && strncmp(username, TOKEN_MODE, strlen(TOKEN_MODE)) == 0;
}

bool question_connect(struct question *to, const struct options *options, const struct abi_basic_auth *event) {
    bytes_wipe(&to->request);
    if (!add_client(&to->request, event->client, event->username, event->password))
        return false;
    to->by_token = is_by_token(event->username);
    to->key = 0; /* a CONNECT is never answered from the cache */
    question_add_meta(&to->request, 3, options);
    return !to->request.failed;
}

bool question_operation(struct question *to, const struct options *options, struct mosquitto *client,
                        enum question_type type, const char *topic) {
    bytes_clear(&to->request);
    const char *username = mosquitto_client_username(client);
    if (!topic || !add_client(&to->request, client, username, NULL))
        return false;
    to->by_token = is_by_token(username);
    proto_add_number(&to->request, 2, type);
    proto_add_text(&to->request, 3, topic);
    to->key = to->request.len;
    question_add_meta(&to->request, 5, options);
    return !to->request.failed;
}

enum verdict question_verdict(const uint8_t *answer, size_t len) {
    struct proto_reader reader = {answer, answer + len, false};
    struct proto_field field;
    uint64_t type = CONTINUE;
    bool said = false;
    bool allowed = false;
    while (proto_next(&reader, &field)) {
        if (field.number == 1 && field.type == PROTO_NUMBER)
            type = field.value;
        if (field.number == 3 && field.type == PROTO_NUMBER) {
            said = true;
            allowed = field.value;
        }
    }
    if (reader.malformed)
        return VERDICT_NONE;
    if (type == IGNORE)
        return VERDICT_PASS;
    if (type != STOP_AND_RETURN || !said)
        return VERDICT_NONE;
    return allowed ? VERDICT_ALLOW : VERDICT_DENY;
}

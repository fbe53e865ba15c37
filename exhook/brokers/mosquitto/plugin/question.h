/* What is asked of the server about a client, in the messages of ExHook v3. */
#ifndef EXHOOK_QUESTION_H
#define EXHOOK_QUESTION_H

#include "abi.h"
#include "bytes.h"
#include "options.h"

enum question_type { ASK_PUBLISH = 0, ASK_SUBSCRIBE = 1 };

enum verdict {
    VERDICT_DENY,
    VERDICT_ALLOW,
    VERDICT_PASS, /* IGNORE: whatever else the broker has decides */
    VERDICT_NONE, /* no answer that could be read: to be denied, and not to be kept */
};

struct question {
    struct bytes request;
    size_t key; /* so many bytes at its beginning are all that was asked; the rest says who asks */
    bool by_token; /* the tokens of the client's last CONNECT decide, and are not told anew */
};

/* Field `number` of a request: RequestMeta. */
void question_add_meta(struct bytes *to, unsigned number, const struct options *options);

/* False where nothing can be asked of this client: it has no client id, or a certificate that cannot be read. */
bool question_connect(struct question *to, const struct options *options, const struct abi_basic_auth *event);
bool question_operation(struct question *to, const struct options *options, struct mosquitto *client,
                        enum question_type type, const char *topic);

void question_loaded(struct bytes *to, const struct options *options);

/* What a ValuedResponse says. */
enum verdict question_verdict(const uint8_t *answer, size_t len);

#endif

/* The ExHook server: one kept connection, one question at a time, and a breaker, so that a server that does not
 * answer costs the broker one deadline and not one for each question. */
#ifndef EXHOOK_SERVER_H
#define EXHOOK_SERVER_H

#include "http2.h"

/* How long nothing is asked after a failure. Failures of the connection and answers that do not come count, answers
 * never: else one client whose questions are answered oddly would shut out all. */
#define SERVER_BACK_OFF_MS 1000

enum rpc { RPC_LOADED, RPC_UNLOADED, RPC_AUTHENTICATE, RPC_AUTHORIZE, RPC_CHANGES, RPC_COUNT };

struct server {
    const struct address *address;
    unsigned deadline_ms;
    struct bytes headers[RPC_COUNT];
    struct h2 connection;
    int64_t closed_until; /* the breaker */
    bool failing;         /* the last question failed */
    bool unreachable;     /* … for want of a connection, not of time */
};

bool server_init(struct server *server, const struct address *address, unsigned deadline_ms);
void server_free(struct server *server);

/* Ask, and wait for the answer until `deadline` (clock_ms). ANSWERED: it is in `h2_message(&server->connection)`. */
enum h2_result server_ask(struct server *server, enum rpc rpc, const struct bytes *request, int64_t deadline);

/* Between questions: answer PINGs, notice an end. */
void server_idle(struct server *server);

/* The server has answered elsewhere: no need to wait for the end of a back-off. */
void server_is_back(struct server *server);

#endif

#include "server.h"

#include "abi.h"
#include "clock.h"

static const char *const PATHS[RPC_COUNT] = {
    [RPC_LOADED] = "/emqx.exhook.v3.HookProvider/OnProviderLoaded",
    [RPC_UNLOADED] = "/emqx.exhook.v3.HookProvider/OnProviderUnloaded",
    [RPC_AUTHENTICATE] = "/emqx.exhook.v3.HookProvider/OnClientAuthenticate",
    [RPC_AUTHORIZE] = "/emqx.exhook.v3.HookProvider/OnClientAuthorize",
    [RPC_CHANGES] = "/exhook.bridge.v1.Bridge/Changes",
};

bool server_init(struct server *server, const struct address *address, unsigned deadline_ms) {
    *server = (struct server){.address = address, .deadline_ms = deadline_ms};
    h2_init(&server->connection);
    bool good = true;
    for (int rpc = 0; rpc < RPC_COUNT; rpc++) {
        h2_headers(&server->headers[rpc], PATHS[rpc], address->authority, deadline_ms);
        good = good && !server->headers[rpc].failed;
    }
    return good;
}

void server_free(struct server *server) {
    h2_close(&server->connection);
    for (int rpc = 0; rpc < RPC_COUNT; rpc++)
        bytes_free(&server->headers[rpc]);
}

static enum h2_result attempt(struct server *server, enum rpc rpc, const struct bytes *request, int64_t deadline) {
    struct h2 *connection = &server->connection;
    if (!h2_is_open(connection) && !h2_open(connection, server->address))
        return H2_BROKEN;
    h2_call(connection, &server->headers[rpc], request);
    enum h2_result result = h2_wait(connection, deadline);
    if (result != H2_ANSWERED && result != H2_REFUSED)
        h2_close(connection);
    return result;
}

static void failed(struct server *server, enum h2_result result) {
    server->closed_until = clock_ms() + SERVER_BACK_OFF_MS;
    server->unreachable = result != H2_LATE;
    if (!server->failing)
        mosquitto_log_printf(ABI_LOG_WARNING, "exhook: %s %s; everything that is not cached is denied",
                             server->address->text,
                             server->unreachable ? "cannot be reached" : "does not answer in time");
    server->failing = true;
}

static void answered(struct server *server) {
    server->closed_until = 0;
    if (server->failing)
        mosquitto_log_printf(ABI_LOG_NOTICE, "exhook: %s answers again", server->address->text);
    server->failing = false;
}

enum h2_result server_ask(struct server *server, enum rpc rpc, const struct bytes *request, int64_t deadline) {
    if (clock_ms() < server->closed_until)
        return H2_BROKEN;
    server_idle(server);
    enum h2_result result = attempt(server, rpc, request, deadline);
    if (result == H2_UNHANDLED)
        result = attempt(server, rpc, request, deadline);
    if (result == H2_BROKEN || result == H2_LATE || result == H2_UNHANDLED)
        failed(server, result);
    else
        answered(server);
    return result;
}

void server_idle(struct server *server) {
    struct h2 *connection = &server->connection;
    if (!h2_is_open(connection))
        return;
    h2_step(connection);
    if (connection->going)
        h2_close(connection);
}

void server_is_back(struct server *server) {
    if (server->failing && server->unreachable)
        server->closed_until = 0;
}

/* The plugin: what the broker calls, and what it is told.
 *
 * The broker is one thread: whatever is waited for here, all of it waits for. Everything fails closed. All state hangs
 * on `userdata`, since with `per_listener_settings true` one copy of this library serves several listeners. */
#include "abi.h"
#include "cache.h"
#include "changes.h"
#include "clients.h"
#include "clock.h"
#include "options.h"
#include "question.h"
#include "server.h"
#include "version.h"

#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define TICK_MS 50      /* 2.1 ticks when it is asked to */
#define KICKING_MS 20   /* how long disconnecting may hold up a tick */
#define GOODBYE_MS 100
#define TICKLESS_MS 1000 /* Mosquitto 2.0 has no ticks with per_listener_settings true */
#define FRESH_MS 500

struct plugin {
    struct abi_plugin_id *id;
    struct options options;
    struct server server;
    struct cache cache;
    struct clients clients;
    struct losses lost; /* since the start: for sessions that were away */
    struct changes_watch changes;
    struct question question;
    uint64_t bindings; /* CONNECTs that have bound tokens to their client, or may have */
    bool loaded;    /* the server knows of this broker */
    int64_t ticked; /* when the broker last ticked … */
    int64_t idled;
    int64_t learnt; /* … and, where it does not, when the server was last asked for changes */
};

EXPORT const char exhook_plugin_version[] = EXHOOK_VERSION;

static void apply(struct plugin *plugin, enum changes_news news, const struct losses *losses) {
    if (news == CHANGES_NONE)
        return;
    server_is_back(&plugin->server);
    if (news == CHANGES_SAME)
        return;
    cache_clear(&plugin->cache);
    losses_add_all(&plugin->lost, losses);
    struct losses whom = *losses;
    /* Whom nobody remembers cannot be found among those that are. */
    whom.everyone = whom.everyone || (plugin->clients.incomplete && whom.count);
    size_t doomed = clients_doom(&plugin->clients, &whom);
    if (doomed)
        mosquitto_log_printf(ABI_LOG_NOTICE, "exhook: revision %llu of the policy takes something from %zu clients "
                             "that are connected; they are %s",
                             (unsigned long long)plugin->changes.since, doomed,
                             clock_ms() - plugin->ticked < TICKLESS_MS ? "disconnected" : "cut off");
}

/* Ask what has changed, and wait for the answer. */
static void learn(struct plugin *plugin, int64_t deadline) {
    struct bytes request = {0};
    struct losses losses = {0};
    changes_request(&plugin->changes, plugin->options.instance, plugin->options.certificate, &request);
    enum h2_result result = server_ask(&plugin->server, RPC_CHANGES, &request, deadline);
    if (result == H2_ANSWERED) {
        size_t len;
        const uint8_t *answer = h2_message(&plugin->server.connection, &len);
        apply(plugin, changes_answer(&plugin->changes, answer, len, &losses), &losses);
    } else if (result == H2_REFUSED) {
        changes_refused(&plugin->changes, plugin->server.connection.grpc_status);
    }
    losses_free(&losses);
    bytes_free(&request);
}

/* Before anyone is let in: make the broker known, and learn which revision changes are to be counted from. */
static bool prepare(struct plugin *plugin, int64_t deadline) {
    if (!plugin->loaded) {
        struct bytes request = {0};
        question_loaded(&request, &plugin->options);
        enum h2_result result = server_ask(&plugin->server, RPC_LOADED, &request, deadline);
        plugin->loaded = result == H2_ANSWERED || result == H2_REFUSED;
        bytes_free(&request);
    }
    if (plugin->loaded && !plugin->changes.known && !plugin->changes.unavailable)
        learn(plugin, deadline);
    return plugin->loaded && (plugin->changes.known || plugin->changes.unavailable);
}

/* Where the broker does not tick, changes are asked for on the way. Nobody can be disconnected there, since this is
 * called in the midst of things; whoever lost something is asked about at every step, deliveries too. */
static void keep_up(struct plugin *plugin) {
    int64_t now = clock_ms();
    if (now - plugin->ticked < TICKLESS_MS || now - plugin->learnt < FRESH_MS || !plugin->changes.known)
        return;
    plugin->learnt = now;
    learn(plugin, now + plugin->options.deadline_ms);
}

/* Ask what `plugin->question` holds. */
static enum verdict ask(struct plugin *plugin, enum rpc rpc) {
    int64_t deadline = clock_ms() + plugin->options.deadline_ms;
    if (!prepare(plugin, deadline) ||
        server_ask(&plugin->server, rpc, &plugin->question.request, deadline) != H2_ANSWERED)
        return VERDICT_NONE;
    size_t len;
    const uint8_t *answer = h2_message(&plugin->server.connection, &len);
    return question_verdict(answer, len);
}

static int answer_to(enum verdict verdict, int denied) {
    return verdict == VERDICT_ALLOW ? ABI_SUCCESS : verdict == VERDICT_PASS ? ABI_DEFER : denied;
}

static bool is_known(const struct client *known, const struct mosquitto *client) {
    const char *client_id = mosquitto_client_id(client);
    const char *username = mosquitto_client_username(client);
    return known && client_id && strcmp(known->client_id, client_id) == 0 &&
           strcmp(known->username ? known->username : "", username ? username : "") == 0;
}

/* Remember who is connected. Someone who comes back to a session that stood when something was taken from them may
 * still have subscriptions that would be refused now, which a plugin cannot end: what is delivered is checked.
 * Whoever is known already is asked about anew because the broker reloads: what they had lost before stays lost. */
static void remember(struct plugin *plugin, struct mosquitto *client, const char *username) {
    const char *client_id = mosquitto_client_id(client);
    struct client *known = clients_find(&plugin->clients, client);
    if (!is_known(known, client))
        known = clients_put(&plugin->clients, client, client_id, username);
    if (!known)
        return;
    known->binding = plugin->bindings;
    if (plugin->options.read_check == READ_CHECK_REVOKED && !mosquitto_client_clean_session(client) &&
        losses_concern(&plugin->lost, client_id, username))
        known->check_reads = true;
}

static int on_basic_auth(int event, void *event_data, void *userdata) {
    struct plugin *plugin = userdata;
    const struct abi_basic_auth *auth = event_data;
    (void)event;
    keep_up(plugin);
    if (!question_connect(&plugin->question, &plugin->options, auth))
        return ABI_AUTH;
    enum verdict verdict = ask(plugin, RPC_AUTHENTICATE);
    bytes_wipe(&plugin->question.request);
    /* Where no answer came, the server may have bound them all the same. */
    if (plugin->question.by_token && verdict != VERDICT_DENY)
        plugin->bindings++;
    if (verdict == VERDICT_ALLOW || verdict == VERDICT_PASS)
        remember(plugin, auth->client, auth->username);
    return answer_to(verdict, ABI_AUTH);
}

/* Whether a client may have subscriptions from before something was taken from it. Who is not remembered is away, as a
 * rule, with a session that waits. */
static bool may_hold_what_is_lost(const struct plugin *plugin, const struct mosquitto *client) {
    const struct client *known = clients_find(&plugin->clients, client);
    if (is_known(known, client))
        return known->check_reads || known->doomed;
    const char *client_id = mosquitto_client_id(client);
    return !client_id || losses_concern(&plugin->lost, client_id, mosquitto_client_username(client));
}

static bool is_read_checked(struct plugin *plugin, struct mosquitto *client) {
    switch (plugin->options.read_check) {
    case READ_CHECK_OFF:
        return false;
    case READ_CHECK_REVOKED:
        return may_hold_what_is_lost(plugin, client);
    case READ_CHECK_DURABLE:
        return !mosquitto_client_clean_session(client) || may_hold_what_is_lost(plugin, client);
    case READ_CHECK_ON:
        break;
    }
    return true;
}

/* What a client in Token mode may do hangs on what its last CONNECT bound. That of one who is not remembered (its
 * session outlives its connection, its will is asked about) is no newer than anybody's last. */
static struct cache_key key_of(struct plugin *plugin, struct mosquitto *client) {
    struct cache_key key = {plugin->question.request.data, plugin->question.key, 0};
    if (plugin->question.by_token) {
        const struct client *known = clients_find(&plugin->clients, client);
        key.binding = is_known(known, client) ? known->binding : plugin->bindings;
    }
    return key;
}

static int check(struct plugin *plugin, struct mosquitto *client, enum question_type type, const char *topic) {
    if (!question_operation(&plugin->question, &plugin->options, client, type, topic))
        return ABI_ACL_DENIED;
    const struct cache_key key = key_of(plugin, client);
    int verdict;
    if (cache_find(&plugin->cache, &key, clock_ms(), &verdict))
        return answer_to((enum verdict)verdict, ABI_ACL_DENIED);
    verdict = (int)ask(plugin, RPC_AUTHORIZE);
    if (verdict != VERDICT_NONE)
        cache_keep(&plugin->cache, &key, clock_ms(), verdict);
    return answer_to((enum verdict)verdict, ABI_ACL_DENIED);
}

static int on_acl_check(int event, void *event_data, void *userdata) {
    struct plugin *plugin = userdata;
    const struct abi_acl_check *acl = event_data;
    (void)event;
    keep_up(plugin);
    /* Where a certificate proves who somebody is there is no BASIC_AUTH: this is the first that is heard of them. */
    if (plugin->options.certificate && !is_known(clients_find(&plugin->clients, acl->client), acl->client) &&
        mosquitto_client_id(acl->client))
        remember(plugin, acl->client, mosquitto_client_username(acl->client));
    switch (acl->access) {
    case ABI_UNSUBSCRIBE:
        return ABI_SUCCESS;
    case ABI_SUBSCRIBE:
        return check(plugin, acl->client, ASK_SUBSCRIBE, acl->topic);
    case ABI_WRITE:
        return check(plugin, acl->client, ASK_PUBLISH, acl->topic);
    case ABI_READ:
        if (!is_read_checked(plugin, acl->client))
            return ABI_SUCCESS;
        return check(plugin, acl->client, ASK_SUBSCRIBE, acl->topic);
    default:
        return ABI_ACL_DENIED;
    }
}

static int on_disconnect(int event, void *event_data, void *userdata) {
    struct plugin *plugin = userdata;
    const struct abi_disconnect *disconnect = event_data;
    (void)event;
    clients_remove(&plugin->clients, disconnect->client);
    return ABI_SUCCESS;
}

static int on_reload(int event, void *event_data, void *userdata) {
    struct plugin *plugin = userdata;
    (void)event, (void)event_data;
    cache_clear(&plugin->cache);
    return ABI_SUCCESS;
}

/* Disconnect those who lost something, as many as fit into the time. */
static void kick(struct plugin *plugin, int64_t now) {
    struct client *client;
    while ((client = clients_doomed(&plugin->clients)) && clock_ms() - now < KICKING_MS) {
        const void *handle = client->handle;
        char *client_id = strdup(client->client_id);
        /* First, since disconnecting asks about the will, and calls back to have the client forgotten. */
        clients_remove(&plugin->clients, handle);
        if (!client_id) {
            plugin->clients.incomplete = true;
            return;
        }
        mosquitto_kick_client_by_clientid(client_id, true);
        free(client_id);
    }
}

static int on_tick(int event, void *event_data, void *userdata) {
    struct plugin *plugin = userdata;
    struct abi_tick *tick = event_data;
    (void)event;
    tick->next_s = 0;
    tick->next_ms = TICK_MS;
    int64_t now = clock_ms();
    plugin->ticked = now;
    if (now - plugin->idled >= TICK_MS) {
        plugin->idled = now;
        server_idle(&plugin->server);
    }
    struct losses losses = {0};
    struct bytes request = {0};
    changes_request(&plugin->changes, plugin->options.instance, plugin->options.certificate, &request);
    enum changes_news news = changes_tick(&plugin->changes, &plugin->options.address,
                                          &plugin->server.headers[RPC_CHANGES], &request, now, &losses);
    apply(plugin, news, &losses);
    bytes_free(&request);
    losses_free(&losses);
    kick(plugin, now);
    return ABI_SUCCESS;
}

static const struct {
    enum abi_event event;
    abi_callback callback;
} CALLBACKS[] = {
    {ABI_BASIC_AUTH, on_basic_auth}, {ABI_ACL_CHECK, on_acl_check}, {ABI_DISCONNECT, on_disconnect},
    {ABI_RELOAD, on_reload},         {ABI_TICK, on_tick},
};
#define CALLBACK_COUNT (sizeof CALLBACKS / sizeof *CALLBACKS)

static void release(struct plugin *plugin) {
    for (size_t i = 0; i < CALLBACK_COUNT; i++)
        mosquitto_callback_unregister(plugin->id, (int)CALLBACKS[i].event, CALLBACKS[i].callback, NULL);
    server_free(&plugin->server);
    changes_free(&plugin->changes);
    cache_free(&plugin->cache);
    clients_free(&plugin->clients);
    losses_free(&plugin->lost);
    bytes_free(&plugin->question.request);
    free(plugin);
}

static bool is_complete_broker(void) {
    return mosquitto_callback_register && mosquitto_callback_unregister && mosquitto_client_address &&
           mosquitto_client_clean_session && mosquitto_client_id && mosquitto_client_certificate &&
           mosquitto_client_username && mosquitto_kick_client_by_clientid;
}

EXPORT int mosquitto_plugin_version(int count, const int *versions);
EXPORT int mosquitto_plugin_init(struct abi_plugin_id *id, void **userdata, struct abi_option *options, int count);
EXPORT int mosquitto_plugin_cleanup(void *userdata, struct abi_option *options, int count);

int mosquitto_plugin_version(int count, const int *versions) {
    for (int i = 0; i < count; i++)
        if (versions[i] == ABI_VERSION)
            return ABI_VERSION;
    return -1;
}

int mosquitto_plugin_init(struct abi_plugin_id *id, void **userdata, struct abi_option *options, int count) {
    char why[2 * OPTION_TEXT + 128];
    if (!mosquitto_log_printf)
        return ABI_INVAL;
    if (!is_complete_broker()) {
        mosquitto_log_printf(ABI_LOG_ERROR, "exhook: this broker lacks calls that the plugin needs; it takes "
                                            "Mosquitto 2.0.11 or newer");
        return ABI_INVAL;
    }
    struct plugin *plugin = calloc(1, sizeof *plugin);
    if (!plugin)
        return ABI_NOMEM;
    plugin->id = id;
    changes_init(&plugin->changes);
    h2_init(&plugin->server.connection);
    if (!options_read(&plugin->options, options, count, why, sizeof why)) {
        mosquitto_log_printf(ABI_LOG_ERROR, "exhook: %s", why);
        free(plugin);
        return ABI_INVAL;
    }
    bool good = cache_init(&plugin->cache, plugin->options.cache_size, (int64_t)plugin->options.cache_seconds * 1000) &&
                server_init(&plugin->server, &plugin->options.address, plugin->options.deadline_ms);
    for (size_t i = 0; good && i < CALLBACK_COUNT; i++)
        good = mosquitto_callback_register(id, (int)CALLBACKS[i].event, CALLBACKS[i].callback, NULL, plugin) == 0;
    if (!good) {
        mosquitto_log_printf(ABI_LOG_ERROR, "exhook: the plugin could not be set up");
        release(plugin);
        return ABI_NOMEM;
    }
    *userdata = plugin;
    mosquitto_log_printf(ABI_LOG_INFO, "exhook: plugin %s asks %s", exhook_plugin_version,
                         plugin->options.address.text);
    prepare(plugin, clock_ms() + plugin->options.deadline_ms);
    return ABI_SUCCESS;
}

int mosquitto_plugin_cleanup(void *userdata, struct abi_option *options, int count) {
    struct plugin *plugin = userdata;
    (void)options, (void)count;
    if (!plugin)
        return ABI_SUCCESS;
    if (plugin->loaded && h2_is_open(&plugin->server.connection)) {
        struct bytes request = {0};
        question_add_meta(&request, 1, &plugin->options);
        server_ask(&plugin->server, RPC_UNLOADED, &request, clock_ms() + GOODBYE_MS);
        bytes_free(&request);
    }
    release(plugin);
    return ABI_SUCCESS;
}

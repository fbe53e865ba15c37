/* What of Mosquitto's plugin interface (version 5) is used here: laid out alike in 2.0 and 2.1, and stated from the
 * interface's documentation, so that building needs no header of the broker.
 *
 * The functions are weak: the library can be loaded outside a broker (`build-plugin` does, to check it), and says by
 * itself which one a broker lacks. */
#ifndef EXHOOK_ABI_H
#define EXHOOK_ABI_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define ABI_VERSION 5

enum abi_event {
    ABI_RELOAD = 1,
    ABI_ACL_CHECK = 2,
    ABI_BASIC_AUTH = 3,
    ABI_TICK = 9,
    ABI_DISCONNECT = 10,
};

enum abi_access { ABI_READ = 1, ABI_WRITE = 2, ABI_SUBSCRIBE = 4, ABI_UNSUBSCRIBE = 8 };

/* Answers of callbacks. AUTH denies a CONNECT and ACL_DENIED an operation: any other code drops the connection or,
 * for a delivery, fails the publisher. */
enum abi_answer { ABI_SUCCESS = 0, ABI_NOMEM = 1, ABI_INVAL = 3, ABI_AUTH = 11, ABI_ACL_DENIED = 12, ABI_DEFER = 17 };

enum abi_log { ABI_LOG_INFO = 1, ABI_LOG_NOTICE = 2, ABI_LOG_WARNING = 4, ABI_LOG_ERROR = 8 };

struct mosquitto;
struct abi_plugin_id;

struct abi_option {
    char *key; /* without `plugin_opt_` */
    char *value;
};

struct abi_basic_auth {
    void *future;
    struct mosquitto *client;
    char *username;
    char *password; /* cut at a NUL */
    void *future2[4];
};

struct abi_acl_check {
    void *future;
    struct mosquitto *client;
    const char *topic;
    const void *payload;
    void *properties;
    int access;
    uint32_t payloadlen;
    uint8_t qos;
    bool retain;
    void *future2[4];
};

struct abi_tick {
    void *future;
    long now_ns;
    long next_ms; /* 2.1: when the next tick is wanted; 2.0 ticks every 100 ms, whatever stands here */
    time_t now_s;
    time_t next_s;
    void *future2[4];
};

struct abi_disconnect {
    void *future;
    struct mosquitto *client;
    int reason;
    void *future2[4];
};

typedef int (*abi_callback)(int event, void *event_data, void *userdata);

#define ABI_WEAK __attribute__((weak))

ABI_WEAK int mosquitto_callback_register(struct abi_plugin_id *id, int event, abi_callback callback,
                                         const void *event_data, void *userdata);
ABI_WEAK int mosquitto_callback_unregister(struct abi_plugin_id *id, int event, abi_callback callback,
                                           const void *event_data);
ABI_WEAK void mosquitto_log_printf(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));
ABI_WEAK const char *mosquitto_client_address(const struct mosquitto *client);
ABI_WEAK bool mosquitto_client_clean_session(const struct mosquitto *client);
ABI_WEAK const char *mosquitto_client_id(const struct mosquitto *client);
ABI_WEAK void *mosquitto_client_certificate(const struct mosquitto *client);
ABI_WEAK const char *mosquitto_client_username(const struct mosquitto *client);
ABI_WEAK int mosquitto_kick_client_by_clientid(const char *client_id, bool with_will);

#endif

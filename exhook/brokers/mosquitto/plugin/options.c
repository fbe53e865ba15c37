#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct reading {
    struct options *to;
    const char *value;
    char *why;
    size_t why_len;
};

static bool say(struct reading *at, const char *what) {
    snprintf(at->why, at->why_len, "%s", what);
    return false;
}

static bool read_number(struct reading *at, unsigned *to, unsigned least, unsigned most) {
    errno = 0;
    char *end;
    unsigned long number = strtoul(at->value, &end, 10);
    if (errno || *end || at->value[0] < '0' || at->value[0] > '9' || number < least || number > most) {
        snprintf(at->why, at->why_len, "give a whole number from %u to %u", least, most);
        return false;
    }
    *to = (unsigned)number;
    return true;
}

static bool read_text(struct reading *at, char *to) {
    if (at->value[0] == '\0' || strlen(at->value) >= OPTION_TEXT)
        return say(at, "give 1 to 255 bytes");
    memcpy(to, at->value, strlen(at->value) + 1);
    return true;
}

static bool read_address(struct reading *at) {
    const char *why = "";
    return address_parse(&at->to->address, at->value, &why) || say(at, why);
}

static bool read_instance(struct reading *at) {
    return read_text(at, at->to->instance);
}

static bool read_node(struct reading *at) {
    return read_text(at, at->to->node);
}

static bool read_auth(struct reading *at) {
    at->to->certificate = strcmp(at->value, "certificate") == 0;
    return at->to->certificate || strcmp(at->value, "password") == 0 || say(at, "give password or certificate");
}

static bool read_read_check(struct reading *at) {
    static const char *const words[] = {"off", "revoked", "durable", "on"};
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(at->value, words[i]) == 0) {
            at->to->read_check = (enum read_check)i;
            return true;
        }
    return say(at, "give off, revoked, durable or on");
}

static bool read_cache_size(struct reading *at) {
    return read_number(at, &at->to->cache_size, 0, 1000000);
}

static bool read_cache_seconds(struct reading *at) {
    return read_number(at, &at->to->cache_seconds, 0, 3600);
}

static bool read_deadline(struct reading *at) {
    return read_number(at, &at->to->deadline_ms, 10, 10000);
}

static const struct {
    const char *name;
    bool (*read)(struct reading *at);
} OPTIONS[] = {
    {"address", read_address},       {"instance", read_instance},   {"node", read_node},
    {"auth", read_auth},             {"read_check", read_read_check}, {"cache_size", read_cache_size},
    {"cache_seconds", read_cache_seconds}, {"deadline_ms", read_deadline},
};
#define KNOWN "address, instance, node, auth, read_check, cache_size, cache_seconds, deadline_ms"

static bool read_option(struct reading *at, const char *name) {
    for (size_t i = 0; i < sizeof OPTIONS / sizeof *OPTIONS; i++)
        if (strcmp(name, OPTIONS[i].name) == 0)
            return OPTIONS[i].read(at);
    return say(at, "there is no such option; those there are: " KNOWN);
}

bool options_read(struct options *to, const struct abi_option *given, int count, char *why, size_t why_len) {
    char wrong[OPTION_TEXT];
    const char *none = "";
    *to = (struct options){
        .read_check = READ_CHECK_REVOKED, .cache_size = 10000, .cache_seconds = 60, .deadline_ms = 300};
    if (!address_parse(&to->address, "127.0.0.1:9000", &none))
        return false;
    char host[OPTION_TEXT - 16] = "";
    gethostname(host, sizeof host - 1);
    snprintf(to->node, sizeof to->node, "mosquitto@%s", host);
    for (int i = 0; i < count; i++) {
        struct reading at = {to, given[i].value ? given[i].value : "", wrong, sizeof wrong};
        if (!read_option(&at, given[i].key)) {
            snprintf(why, why_len, "plugin_opt_%s %s: %s", given[i].key, at.value, wrong);
            return false;
        }
    }
    return true;
}

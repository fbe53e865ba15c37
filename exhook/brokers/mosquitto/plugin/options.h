/* The options of the plugin, `plugin_opt_NAME VALUE` in the broker's configuration. */
#ifndef EXHOOK_OPTIONS_H
#define EXHOOK_OPTIONS_H

#include "abi.h"
#include "address.h"

#define OPTION_TEXT 256

enum read_check {
    READ_CHECK_OFF,     /* deliveries are not asked about */
    READ_CHECK_REVOKED, /* but for sessions older than something that was taken from them */
    READ_CHECK_DURABLE, /* and for every session that outlives its connection */
    READ_CHECK_ON,      /* every delivery */
};

struct options {
    struct address address;
    char instance[OPTION_TEXT];
    char node[OPTION_TEXT];
    bool certificate; /* the broker proves who a client is */
    enum read_check read_check;
    unsigned cache_size;    /* decisions */
    unsigned cache_seconds; /* how long one holds */
    unsigned deadline_ms;
};

/* Read the options; false and one line in `why` where one is unknown, or no value of its kind. */
bool options_read(struct options *to, const struct abi_option *given, int count, char *why, size_t why_len);

#endif

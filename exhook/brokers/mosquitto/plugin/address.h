/* Where the server listens: HOST:PORT, [IPv6]:PORT or unix:/PATH. A name is resolved once, when the broker starts;
 * it may have several addresses, and the server listen at any of them. */
#ifndef EXHOOK_ADDRESS_H
#define EXHOOK_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

#define ADDRESS_TEXT 300
#define ADDRESS_MOST 8 /* of one name; whatever else it has is left out */

struct address {
    struct {
        struct sockaddr_storage socket;
        socklen_t len;
    } all[ADDRESS_MOST];
    unsigned count;
    char text[ADDRESS_TEXT];      /* as it was given */
    char authority[ADDRESS_TEXT]; /* what requests name the server by */
};

/* Read an address; where it is none, `why` says what is wrong. */
bool address_parse(struct address *address, const char *text, const char **why);

/* A socket on its way to being connected to one of the addresses, or -1. They are counted round and round. */
int address_connect(const struct address *address, unsigned which);

#endif

#include "address.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define UNIX "unix:"

static bool parse_unix(struct address *address, const char *path, const char **why) {
    struct sockaddr_un *to = (struct sockaddr_un *)&address->all[0].socket;
    if (path[0] != '/' || strlen(path) >= sizeof to->sun_path) {
        *why = "a socket's path begins with / and has fewer than 108 bytes";
        return false;
    }
    to->sun_family = AF_UNIX;
    memcpy(to->sun_path, path, strlen(path) + 1);
    address->all[0].len = sizeof *to;
    address->count = 1;
    memcpy(address->authority, "localhost", sizeof "localhost");
    return true;
}

static bool parse_host(struct address *address, const char *text, const char **why) {
    char host[ADDRESS_TEXT];
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text || colon[1] == '\0') {
        *why = "write HOST:PORT, [IPv6]:PORT or unix:/PATH";
        return false;
    }
    size_t len = (size_t)(colon - text);
    bool bracketed = text[0] == '[' && text[len - 1] == ']';
    if (!bracketed && memchr(text, ':', len)) {
        *why = "an IPv6 address stands in brackets: [::1]:9000";
        return false;
    }
    memcpy(host, text + bracketed, len - 2 * bracketed);
    host[len - 2 * bracketed] = '\0';
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (strspn(colon + 1, "0123456789") != strlen(colon + 1) || getaddrinfo(host, colon + 1, &hints, &found) ||
        !found) {
        *why = "there is no such host or port";
        return false;
    }
    for (const struct addrinfo *one = found; one && address->count < ADDRESS_MOST; one = one->ai_next) {
        memcpy(&address->all[address->count].socket, one->ai_addr, one->ai_addrlen);
        address->all[address->count++].len = one->ai_addrlen;
    }
    freeaddrinfo(found);
    memcpy(address->authority, text, strlen(text) + 1);
    return true;
}

bool address_parse(struct address *address, const char *text, const char **why) {
    *address = (struct address){0};
    if (strlen(text) >= sizeof address->text) {
        *why = "it is too long";
        return false;
    }
    memcpy(address->text, text, strlen(text) + 1);
    if (strncmp(text, UNIX, strlen(UNIX)) == 0)
        return parse_unix(address, text + strlen(UNIX), why);
    return parse_host(address, text, why);
}

int address_connect(const struct address *address, unsigned which) {
    const struct sockaddr_storage *to = &address->all[which % address->count].socket;
    int fd = socket(to->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int on = 1;
    if (to->ss_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (const struct sockaddr *)to, address->all[which % address->count].len) && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

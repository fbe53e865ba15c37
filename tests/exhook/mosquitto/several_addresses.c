/* Preloaded into a broker, gives the host `several.test` two addresses: FIRST_ADDRESS of the environment, and then
 * 127.0.0.1. */
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

typedef int (*lookup)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **found) {
    lookup real = (lookup)dlsym(RTLD_NEXT, "getaddrinfo");
    if (!host || strcmp(host, "several.test") != 0)
        return real(host, port, hints, found);
    int failed = real(getenv("FIRST_ADDRESS"), port, hints, found);
    return failed ? failed : real("127.0.0.1", port, hints, &(*found)->ai_next);
}

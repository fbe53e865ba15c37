/* Which plugin this is: `build-plugin` looks at it, and the server is told. */
#ifndef EXHOOK_VERSION_H
#define EXHOOK_VERSION_H

#ifndef EXHOOK_VERSION
#define EXHOOK_VERSION "unknown"
#endif

#endif

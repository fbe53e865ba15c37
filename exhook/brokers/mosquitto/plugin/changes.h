/* Asking the server what of the policy has changed. The broker stands still meanwhile, so an answer is waited for a
 * moment, in which a server that is well has given it; else it is read in a later tick. On a connection of its own. */
#ifndef EXHOOK_CHANGES_H
#define EXHOOK_CHANGES_H

#include "http2.h"
#include "losses.h"

#define CHANGES_EVERY_MS 95 /* an idle broker ticks every 100 ms: each tick asks */
#define CHANGES_PATIENCE_MS 2000
#define CHANGES_MOMENT_MS 2 /* once a question, and a server that does not answer is asked every 2 s */
#define CHANGES_STORE 128

/* exhook.bridge.v1.ChangesResponse */
struct changes {
    char store[CHANGES_STORE]; /* which store the revision is one of */
    uint64_t revision;
    struct losses losses;
};

enum changes_news {
    CHANGES_NONE, /* nothing new, or nothing known yet */
    CHANGES_SAME, /* the server answered: nothing has changed */
    CHANGES_NEW,  /* the policy has changed */
};

struct changes_watch {
    struct h2 connection;
    bool known; /* a revision has been heard of */
    bool unavailable; /* the server does not know the question */
    char store[CHANGES_STORE];
    uint64_t since;
    bool asked;
    int64_t next; /* when to ask; while `asked`, when to give up */
    int64_t looked;
};

void changes_init(struct changes_watch *watch);
void changes_free(struct changes_watch *watch);

/* Write a ChangesRequest. */
void changes_request(const struct changes_watch *watch, const char *instance, bool certificate, struct bytes *to);

/* Read a ChangesResponse, and take its revision over; CHANGES_NONE where it is none. `losses` is the caller's. */
enum changes_news changes_answer(struct changes_watch *watch, const uint8_t *answer, size_t len, struct losses *losses);

/* The server refused to tell. One that is not exhook does not know the question, and is asked rarely. */
void changes_refused(struct changes_watch *watch, int grpc_status);

/* A tick: go on with what can be done at once. */
enum changes_news changes_tick(struct changes_watch *watch, const struct address *address, const struct bytes *headers,
                               const struct bytes *request, int64_t now, struct losses *losses);

#endif

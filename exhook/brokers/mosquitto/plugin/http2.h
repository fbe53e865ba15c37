/* One HTTP/2 connection in clear text (RFC 9113, prior knowledge) that carries one unary gRPC call at a time.
 *
 * Nothing here waits: `h2_step` does what can be done at once; only `h2_linger` and `h2_wait` step until there is a
 * result or the time is over. Everything that a peer can make grow is bounded. After any result but ANSWERED and
 * REFUSED the connection is of no more use and is to be closed; a call that ran out of time is ended so, too. */
#ifndef EXHOOK_HTTP2_H
#define EXHOOK_HTTP2_H

#include "address.h"
#include "bytes.h"
#include "hpack.h"

#define H2_FRAME_HEADER 9
#define H2_FRAME 16384 /* the longest frame that either side sends */
#define H2_ANSWER_LIMIT ((size_t)256 * 1024)

enum h2_result {
    H2_IDLE,      /* no call is under way */
    H2_PENDING,   /* the answer is not whole yet */
    H2_ANSWERED,  /* grpc-status 0 and one message */
    H2_REFUSED,   /* another grpc-status */
    H2_RESET,     /* the server reset the call, or answered what is no gRPC answer */
    H2_UNHANDLED, /* the server did not, or cannot have, begun to handle it: ask anew on a new connection */
    H2_BROKEN,    /* the connection failed, or was used against the protocol */
    H2_LATE,      /* no result in time */
};

struct h2 {
    int fd;
    const struct address *address;
    unsigned turn;  /* which of its addresses is connected to, or is to be next: the last that was good */
    unsigned tried; /* how many have been, for this connection */
    bool connected;
    bool going; /* GOAWAY came: no more calls */
    bool fresh; /* no call has been answered on it yet */
    enum h2_result result;
    uint32_t stream; /* of the call under way, or the last one */
    bool heard;      /* something of the answer came */
    bool headed;     /* the answer's headers came */
    bool ended;
    int http_status;
    int grpc_status; /* -1: not said */
    struct bytes body; /* what is still to be sent of the message */
    size_t sent;
    struct bytes answer; /* message frames of the answer */
    int64_t window;        /* how much may be sent: on the connection … */
    int64_t stream_window; /* … and on the stream */
    int64_t first_window;
    uint32_t most_streams;
    uint32_t unacknowledged;        /* DATA since the last WINDOW_UPDATE, of the connection … */
    uint32_t stream_unacknowledged; /* … and of the stream */
    struct bytes block;             /* a header block under way */
    uint32_t block_stream;          /* 0: none is */
    bool block_ends;
    unsigned block_frames;
    unsigned frames; /* in this call */
    struct bytes out;
    uint8_t in[H2_FRAME_HEADER + H2_FRAME];
    size_t in_len;
    struct hpack table;
};

void h2_init(struct h2 *to);
bool h2_open(struct h2 *to, const struct address *address);
void h2_begin(struct h2 *to, int fd); /* on a socket that does not block, maybe still on its way */
void h2_close(struct h2 *to);
static inline bool h2_is_open(const struct h2 *to) {
    return to->fd >= 0;
}

/* Begin a call. `headers` is its whole header block, `message` the request. */
void h2_call(struct h2 *to, const struct bytes *headers, const struct bytes *message);

/* Read and write what can be at once. Without a call it answers PINGs and notices that the server has gone. */
enum h2_result h2_step(struct h2 *to);

/* Step until there is a result, or `clock_ms` reaches `deadline`; the call goes on. */
enum h2_result h2_linger(struct h2 *to, int64_t deadline);

/* Step until there is a result, or `clock_ms` reaches `deadline`, which ends the call. */
enum h2_result h2_wait(struct h2 *to, int64_t deadline);

/* The message of an answer (H2_ANSWERED). */
static inline const uint8_t *h2_message(const struct h2 *from, size_t *len) {
    *len = from->answer.len - 5;
    return from->answer.data + 5;
}

/* The header block of calls of one path. */
void h2_headers(struct bytes *to, const char *path, const char *authority, unsigned timeout_ms);

#endif

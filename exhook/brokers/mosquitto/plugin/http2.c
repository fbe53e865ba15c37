#include "http2.h"

#include "clock.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum frame_type { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };
enum flag { ACK = 0x1, END_STREAM = 0x1, END_HEADERS = 0x4, PADDED = 0x8, WITH_PRIORITY = 0x20 };
enum setting { MAX_CONCURRENT_STREAMS = 3, INITIAL_WINDOW_SIZE = 4 };
enum error_code { REFUSED_STREAM = 7 };

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define DEFAULT_WINDOW 65535
#define MAX_WINDOW INT32_MAX
#define LAST_STREAM 0x3fffffffU
#define MOST_FRAMES 4096       /* in one call */
#define MOST_CONTINUATIONS 16  /* in one header block */
#define MOST_BLOCK 32768       /* bytes of one header block */
#define MOST_OUT (512 * 1024)  /* what waits to be sent: the largest request and answers to PINGs */
#define READS 32               /* in one step, which so ends even if the server never stops sending */
#define MESSAGE_PREFIX 5

struct frame {
    uint32_t len;
    uint8_t type;
    uint8_t flags;
    uint32_t stream;
    const uint8_t *payload;
};

static uint32_t read32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void add32(struct bytes *to, uint32_t value) {
    uint8_t raw[] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value};
    bytes_add(to, raw, sizeof raw);
}

static void add_frame(struct h2 *to, enum frame_type type, unsigned flags, uint32_t stream, const void *payload,
                      size_t len) {
    uint8_t head[] = {(uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len, (uint8_t)type, (uint8_t)flags};
    bytes_add(&to->out, head, sizeof head);
    add32(&to->out, stream);
    bytes_add(&to->out, payload, len);
}

static void add_update(struct h2 *to, uint32_t stream, uint32_t by) {
    uint8_t raw[] = {(uint8_t)(by >> 24), (uint8_t)(by >> 16), (uint8_t)(by >> 8), (uint8_t)by};
    add_frame(to, WINDOW_UPDATE, 0, stream, raw, sizeof raw);
}

void h2_init(struct h2 *to) {
    *to = (struct h2){.fd = -1};
    hpack_init(&to->table);
}

/* A socket on its way to an address that has not been tried yet, or -1. */
static int connect_next(struct h2 *at) {
    int fd = -1;
    while (fd < 0 && at->address && at->tried < at->address->count) {
        at->turn += at->tried++ > 0;
        fd = address_connect(at->address, at->turn);
    }
    return fd;
}

bool h2_open(struct h2 *to, const struct address *address) {
    h2_close(to);
    to->address = address;
    int fd = connect_next(to);
    if (fd >= 0)
        h2_begin(to, fd);
    return fd >= 0;
}

void h2_begin(struct h2 *to, int fd) {
    to->fd = fd;
    to->fresh = true;
    to->window = to->first_window = DEFAULT_WINDOW;
    to->most_streams = UINT32_MAX;
    bytes_add(&to->out, PREFACE, strlen(PREFACE));
    /* ENABLE_PUSH = 0, MAX_HEADER_LIST_SIZE = 16384 */
    static const uint8_t settings[] = {0, 2, 0, 0, 0, 0, 0, 6, 0, 0, 0x40, 0};
    add_frame(to, SETTINGS, 0, 0, settings, sizeof settings);
}

void h2_close(struct h2 *to) {
    /* An address from which nothing came at all is not the next to be tried. */
    unsigned turn = to->turn + (to->fd >= 0 && !to->connected);
    if (to->fd >= 0)
        close(to->fd);
    bytes_free(&to->body);
    bytes_free(&to->answer);
    bytes_free(&to->block);
    bytes_free(&to->out);
    hpack_free(&to->table);
    h2_init(to);
    to->turn = turn;
}

/* The DATA frames of the request, as far as the windows reach. */
static void add_data(struct h2 *to) {
    while (to->sent < to->body.len && to->window > 0 && to->stream_window > 0) {
        size_t len = to->body.len - to->sent;
        int64_t window = to->window < to->stream_window ? to->window : to->stream_window;
        if ((int64_t)len > window)
            len = (size_t)window;
        if (len > H2_FRAME)
            len = H2_FRAME;
        bool last = to->sent + len == to->body.len;
        add_frame(to, DATA, last ? END_STREAM : 0, to->stream, to->body.data + to->sent, len);
        to->sent += len;
        to->window -= (int64_t)len;
        to->stream_window -= (int64_t)len;
    }
    if (to->body.len && to->sent == to->body.len) {
        bytes_wipe(&to->body);
        to->sent = 0;
    }
}

void h2_call(struct h2 *to, const struct bytes *headers, const struct bytes *message) {
    bytes_clear(&to->answer);
    bytes_wipe(&to->body);
    to->sent = 0;
    to->frames = 0;
    to->heard = to->headed = to->ended = false;
    to->http_status = 0;
    to->grpc_status = -1;
    to->stream_unacknowledged = 0;
    to->stream_window = to->first_window;
    if (to->going || to->stream > LAST_STREAM || to->most_streams == 0) {
        to->result = H2_UNHANDLED;
        return;
    }
    to->stream = to->stream ? to->stream + 2 : 1;
    to->result = H2_PENDING;
    add_frame(to, HEADERS, END_HEADERS, to->stream, headers->data, headers->len);
    bytes_add_byte(&to->body, 0); /* not compressed */
    add32(&to->body, (uint32_t)message->len);
    bytes_add(&to->body, message->data, message->len);
    if (message->failed || headers->failed || to->body.failed)
        to->result = H2_BROKEN;
    else
        add_data(to);
}

static void on_header(void *to, struct hpack_text name, struct hpack_text value) {
    struct h2 *at = to;
    int *number = NULL;
    if (name.len == 7 && memcmp(name.data, ":status", 7) == 0)
        number = &at->http_status;
    else if (name.len == 11 && memcmp(name.data, "grpc-status", 11) == 0)
        number = &at->grpc_status;
    if (!number)
        return;
    *number = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.len > 3 || value.data[i] < '0' || value.data[i] > '9') {
            *number = INT_MAX;
            return;
        }
        *number = *number * 10 + (value.data[i] - '0');
    }
    if (value.len == 0)
        *number = INT_MAX;
}

/* What the answer comes to, once its stream has ended. */
static enum h2_result conclude(const struct h2 *at) {
    if (at->http_status != 200 || at->grpc_status < 0 || at->grpc_status == INT_MAX)
        return H2_RESET;
    if (at->grpc_status != 0)
        return H2_REFUSED;
    if (at->answer.failed || at->answer.len < MESSAGE_PREFIX || at->answer.data[0] != 0 ||
        read32(at->answer.data + 1) != at->answer.len - MESSAGE_PREFIX)
        return H2_RESET;
    return H2_ANSWERED;
}

static void end_stream(struct h2 *at) {
    at->ended = true;
    at->result = conclude(at);
    /* It was answered before it was whole: the connection is in no state to be used again. */
    if (at->body.len)
        at->going = true;
}

static bool is_ours(const struct h2 *at, uint32_t stream) {
    return stream == at->stream && at->result == H2_PENDING;
}

/* A stream that the server may speak of: none but ours are opened, and none by the server. */
static bool is_known(const struct h2 *at, uint32_t stream) {
    return stream != 0 && stream <= at->stream && stream % 2 == 1;
}

static bool without_padding(struct frame *frame) {
    if (!(frame->flags & PADDED))
        return true;
    if (frame->len == 0 || frame->payload[0] >= frame->len)
        return false;
    frame->len -= 1U + frame->payload[0];
    frame->payload++;
    return true;
}

static bool on_data(struct h2 *at, struct frame *frame) {
    uint32_t counted = frame->len;
    if (!is_known(at, frame->stream) || !without_padding(frame))
        return false;
    at->unacknowledged += counted;
    if (at->unacknowledged >= DEFAULT_WINDOW / 2) {
        add_update(at, 0, at->unacknowledged);
        at->unacknowledged = 0;
    }
    if (!is_ours(at, frame->stream))
        return true;
    if (!at->headed || at->answer.len + frame->len > H2_ANSWER_LIMIT)
        return false;
    bytes_add(&at->answer, frame->payload, frame->len);
    if (frame->flags & END_STREAM) {
        end_stream(at);
        return true;
    }
    at->stream_unacknowledged += counted;
    if (at->stream_unacknowledged >= DEFAULT_WINDOW / 2) {
        add_update(at, at->stream, at->stream_unacknowledged);
        at->stream_unacknowledged = 0;
    }
    return true;
}

static void ignore_header(void *to, struct hpack_text name, struct hpack_text value) {
    (void)to, (void)name, (void)value;
}

static bool end_block(struct h2 *at) {
    uint32_t stream = at->block_stream;
    at->block_stream = 0;
    bool ours = is_ours(at, stream);
    int status = at->http_status;
    /* Decoded in any case: the table must follow. */
    if (!hpack_decode(&at->table, at->block.data, at->block.len, ours ? on_header : ignore_header, at))
        return false;
    bytes_clear(&at->block);
    if (!ours)
        return true;
    if (!at->headed) {
        /* 1xx announces, the headers proper follow. */
        if (at->http_status >= 100 && at->http_status < 200 && !at->block_ends) {
            at->http_status = 0;
            return true;
        }
        at->headed = true;
    } else if (!at->block_ends || at->http_status != status) {
        return false;
    }
    if (at->block_ends)
        end_stream(at);
    return true;
}

static bool add_to_block(struct h2 *at, const struct frame *frame) {
    if (++at->block_frames > MOST_CONTINUATIONS || at->block.len + frame->len > MOST_BLOCK)
        return false;
    bytes_add(&at->block, frame->payload, frame->len);
    if (at->block.failed)
        return false;
    return !(frame->flags & END_HEADERS) || end_block(at);
}

static bool on_headers(struct h2 *at, struct frame *frame) {
    if (!is_known(at, frame->stream) || !without_padding(frame))
        return false;
    if (frame->flags & WITH_PRIORITY) {
        if (frame->len < 5)
            return false;
        frame->payload += 5;
        frame->len -= 5;
    }
    bytes_clear(&at->block);
    at->block_stream = frame->stream;
    at->block_ends = frame->flags & END_STREAM;
    at->block_frames = 0;
    return add_to_block(at, frame);
}

static bool on_reset(struct h2 *at, const struct frame *frame) {
    if (frame->len != 4 || !is_known(at, frame->stream))
        return false;
    if (is_ours(at, frame->stream))
        at->result = read32(frame->payload) == REFUSED_STREAM ? H2_UNHANDLED : H2_RESET;
    return true;
}

static bool on_setting(struct h2 *at, unsigned id, uint32_t value) {
    if (id == MAX_CONCURRENT_STREAMS)
        at->most_streams = value;
    if (id == INITIAL_WINDOW_SIZE) {
        if (value > MAX_WINDOW)
            return false;
        at->stream_window += (int64_t)value - at->first_window;
        at->first_window = value;
        if (at->stream_window > MAX_WINDOW)
            return false;
    }
    return true;
}

static bool on_settings(struct h2 *at, const struct frame *frame) {
    if (frame->stream != 0)
        return false;
    if (frame->flags & ACK)
        return frame->len == 0;
    if (frame->len % 6)
        return false;
    for (uint32_t i = 0; i < frame->len; i += 6) {
        const uint8_t *one = frame->payload + i;
        if (!on_setting(at, (unsigned)one[0] << 8 | one[1], read32(one + 2)))
            return false;
    }
    add_frame(at, SETTINGS, ACK, 0, NULL, 0);
    add_data(at);
    return true;
}

static bool on_ping(struct h2 *at, const struct frame *frame) {
    if (frame->len != 8 || frame->stream != 0)
        return false;
    if (!(frame->flags & ACK))
        add_frame(at, PING, ACK, 0, frame->payload, frame->len);
    return true;
}

static bool on_goaway(struct h2 *at, const struct frame *frame) {
    if (frame->len < 8 || frame->stream != 0)
        return false;
    at->going = true;
    if (at->result == H2_PENDING && at->stream > (read32(frame->payload) & INT32_MAX))
        at->result = H2_UNHANDLED;
    return true;
}

static bool on_window(struct h2 *at, const struct frame *frame) {
    if (frame->len != 4)
        return false;
    uint32_t by = read32(frame->payload) & INT32_MAX;
    if (by == 0 || (frame->stream != 0 && !is_known(at, frame->stream)))
        return false;
    int64_t *window = frame->stream == 0 ? &at->window : is_ours(at, frame->stream) ? &at->stream_window : NULL;
    if (window) {
        *window += by;
        if (*window > MAX_WINDOW)
            return false;
        add_data(at);
    }
    return true;
}

/* Take a frame in; false where the protocol forbids it. */
static bool on_frame(struct h2 *at, struct frame *frame) {
    if (++at->frames > MOST_FRAMES)
        return false;
    if (at->block_stream)
        return frame->type == CONTINUATION && frame->stream == at->block_stream && add_to_block(at, frame);
    if (frame->stream == at->stream && (frame->type == DATA || frame->type == HEADERS))
        at->heard = true;
    switch (frame->type) {
    case DATA:
        return on_data(at, frame);
    case HEADERS:
        return on_headers(at, frame);
    case PRIORITY:
        return frame->len == 5 && frame->stream != 0;
    case RST_STREAM:
        return on_reset(at, frame);
    case SETTINGS:
        return on_settings(at, frame);
    case PING:
        return on_ping(at, frame);
    case GOAWAY:
        return on_goaway(at, frame);
    case WINDOW_UPDATE:
        return on_window(at, frame);
    case PUSH_PROMISE:
    case CONTINUATION:
        return false;
    default:
        return true; /* of an extension */
    }
}

static bool take_frames(struct h2 *at) {
    size_t from = 0;
    while (at->in_len - from >= H2_FRAME_HEADER) {
        const uint8_t *head = at->in + from;
        struct frame frame = {
            .len = (uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2],
            .type = head[3],
            .flags = head[4],
            .stream = read32(head + 5) & INT32_MAX,
            .payload = head + H2_FRAME_HEADER,
        };
        if (frame.len > H2_FRAME)
            return false;
        if (at->in_len - from < H2_FRAME_HEADER + frame.len)
            break;
        from += H2_FRAME_HEADER + frame.len;
        if (!on_frame(at, &frame))
            return false;
    }
    at->in_len -= from;
    memmove(at->in, at->in + from, at->in_len);
    return true;
}

/* The connection is of no more use. A kept one that was closed before anything of the answer came may be a server
 * that ended in good order, or began anew: that is worth another try. */
static enum h2_result broken(struct h2 *at) {
    if (at->result == H2_PENDING || at->result == H2_IDLE)
        at->result = H2_BROKEN;
    at->going = true;
    return at->result;
}

static enum h2_result lost(struct h2 *at) {
    if (at->result == H2_PENDING && !at->heard && !at->fresh)
        at->result = H2_UNHANDLED;
    return broken(at);
}

static bool flush(struct h2 *at) {
    if (at->out.failed || at->out.len > MOST_OUT)
        return false;
    size_t sent = 0;
    while (sent < at->out.len) {
        ssize_t wrote = send(at->fd, at->out.data + sent, at->out.len - sent, MSG_NOSIGNAL);
        if (wrote < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (wrote <= 0)
            return false;
        sent += (size_t)wrote;
    }
    if (sent == at->out.len)
        bytes_wipe(&at->out);
    else
        bytes_drop(&at->out, sent);
    return true;
}

/* Whether the socket is connected; where it cannot be, the next address is tried. */
static bool is_connected(struct h2 *at) {
    struct pollfd wanted = {.fd = at->fd, .events = POLLOUT};
    while (!at->connected && poll(&wanted, 1, 0) == 1) {
        int error = 0;
        socklen_t len = sizeof error;
        at->connected = getsockopt(at->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0;
        if (at->connected)
            break;
        int fd = connect_next(at);
        if (fd < 0) {
            broken(at);
            break;
        }
        close(at->fd);
        wanted.fd = at->fd = fd;
    }
    return at->connected;
}

enum h2_result h2_step(struct h2 *at) {
    if (at->fd < 0)
        return broken(at);
    if (!is_connected(at))
        return at->result;
    if (!flush(at))
        return lost(at);
    for (int reads = 0; reads < READS; reads++) {
        ssize_t got = recv(at->fd, at->in + at->in_len, sizeof at->in - at->in_len, 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (got <= 0)
            return lost(at);
        at->in_len += (size_t)got;
        if (!take_frames(at))
            return broken(at);
        if (!flush(at))
            return lost(at);
        if (at->result != H2_PENDING && at->result != H2_IDLE)
            break;
    }
    if (at->result == H2_ANSWERED || at->result == H2_REFUSED) {
        at->fresh = false;
        at->frames = 0;
    }
    return at->result;
}

enum h2_result h2_linger(struct h2 *at, int64_t deadline) {
    while (h2_step(at) == H2_PENDING) {
        int64_t left = deadline - clock_ms();
        if (left <= 0)
            break;
        struct pollfd wanted = {.fd = at->fd, .events = POLLIN};
        if (!at->connected || at->out.len)
            wanted.events |= POLLOUT;
        poll(&wanted, 1, left > INT_MAX ? INT_MAX : (int)left);
    }
    return at->result;
}

enum h2_result h2_wait(struct h2 *at, int64_t deadline) {
    if (h2_linger(at, deadline) == H2_PENDING)
        at->result = H2_LATE;
    return at->result;
}

void h2_headers(struct bytes *to, const char *path, const char *authority, unsigned timeout_ms) {
    char timeout[16];
    snprintf(timeout, sizeof timeout, "%um", timeout_ms);
    hpack_add(to, ":method", "POST");
    hpack_add(to, ":scheme", "http");
    hpack_add(to, ":path", path);
    hpack_add(to, ":authority", authority);
    hpack_add(to, "te", "trailers");
    hpack_add(to, "content-type", "application/grpc");
    hpack_add(to, "grpc-timeout", timeout);
    hpack_add(to, "user-agent", "exhook-mosquitto");
}

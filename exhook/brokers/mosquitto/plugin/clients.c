#include "clients.h"

#include <stdlib.h>
#include <string.h>

static size_t place(const struct clients *clients, const void *handle) {
    return (size_t)(((uint64_t)(uintptr_t)handle * 0x9e3779b97f4a7c15U) >> 20) & (clients->size - 1);
}

static struct client **find(const struct clients *clients, const void *handle) {
    struct client **at = &clients->buckets[place(clients, handle)];
    while (*at && (*at)->handle != handle)
        at = &(*at)->next;
    return at;
}

struct client *clients_find(const struct clients *clients, const void *handle) {
    return clients->size ? *find(clients, handle) : NULL;
}

static bool grow(struct clients *clients) {
    if (clients->count < clients->size)
        return true;
    struct clients larger = *clients;
    larger.size = clients->size ? clients->size * 2 : 256;
    larger.buckets = calloc(larger.size, sizeof *larger.buckets);
    if (!larger.buckets)
        return clients->size > 0; /* longer chains, then */
    for (size_t i = 0; i < clients->size; i++) {
        for (struct client *one = clients->buckets[i], *next; one; one = next) {
            next = one->next;
            struct client **at = &larger.buckets[place(&larger, one->handle)];
            one->next = *at;
            *at = one;
        }
    }
    free(clients->buckets);
    larger.sweep = 0;
    *clients = larger;
    return true;
}

struct client *clients_put(struct clients *clients, const void *handle, const char *client_id, const char *username) {
    clients_remove(clients, handle);
    size_t id_len = strlen(client_id) + 1;
    size_t name_len = username ? strlen(username) + 1 : 0;
    struct client *client = NULL;
    if (clients->count < CLIENTS_LIMIT && grow(clients))
        client = malloc(sizeof *client + id_len + name_len);
    if (!client) {
        clients->incomplete = true;
        return NULL;
    }
    struct client **at = &clients->buckets[place(clients, handle)];
    *client = (struct client){.handle = handle, .next = *at};
    memcpy(client->client_id, client_id, id_len);
    if (username) {
        client->username = client->client_id + id_len;
        memcpy(client->username, username, name_len);
    }
    *at = client;
    clients->count++;
    return client;
}

void clients_remove(struct clients *clients, const void *handle) {
    struct client **at = clients->size ? find(clients, handle) : NULL;
    if (!at || !*at)
        return;
    struct client *gone = *at;
    *at = gone->next;
    clients->count--;
    clients->doomed -= gone->doomed;
    free(gone);
}

void clients_free(struct clients *clients) {
    for (size_t i = 0; i < clients->size; i++)
        for (struct client *one = clients->buckets[i], *next; one; one = next) {
            next = one->next;
            free(one);
        }
    free(clients->buckets);
    *clients = (struct clients){0};
}

size_t clients_doom(struct clients *clients, const struct losses *losses) {
    size_t before = clients->doomed;
    for (size_t i = 0; i < clients->size; i++)
        for (struct client *one = clients->buckets[i]; one; one = one->next)
            if (!one->doomed && losses_concern(losses, one->client_id, one->username)) {
                one->doomed = true;
                clients->doomed++;
            }
    return clients->doomed - before;
}

struct client *clients_doomed(struct clients *clients) {
    for (size_t seen = 0; clients->doomed && seen < clients->size; seen++) {
        for (struct client *one = clients->buckets[clients->sweep]; one; one = one->next)
            if (one->doomed)
                return one;
        clients->sweep = (clients->sweep + 1) & (clients->size - 1);
    }
    return NULL;
}

#include "certificate.h"

#include <dlfcn.h>

#define NID_COMMON_NAME 13
#define RFC2253 0x1110317UL /* XN_FLAG_RFC2253 */

struct crypto {
    void (*x509_free)(void *x509);
    void *(*subject_name)(void *x509);
    int (*index_by_nid)(void *name, int nid, int after);
    void *(*entry)(void *name, int index);
    void *(*entry_data)(void *entry);
    int (*to_utf8)(unsigned char **to, void *string);
    void (*free)(void *memory, const char *file, int line);
    void *(*memory_method)(void);
    void *(*bio_new)(void *method);
    int (*bio_free)(void *bio);
    int (*bio_read)(void *bio, void *to, int len);
    int (*print)(void *bio, void *name, int indent, unsigned long flags);
};

/* A pointer to data becomes one to a function here, as POSIX has it for dlsym. */
static bool find(void *function, const char *name) {
    void *found = dlsym(RTLD_DEFAULT, name);
    *(void **)function = found;
    return found;
}

static bool load(struct crypto *to) {
    return find(&to->x509_free, "X509_free") && find(&to->subject_name, "X509_get_subject_name") &&
           find(&to->index_by_nid, "X509_NAME_get_index_by_NID") && find(&to->entry, "X509_NAME_get_entry") &&
           find(&to->entry_data, "X509_NAME_ENTRY_get_data") && find(&to->to_utf8, "ASN1_STRING_to_UTF8") &&
           find(&to->free, "CRYPTO_free") && find(&to->memory_method, "BIO_s_mem") &&
           find(&to->bio_new, "BIO_new") && find(&to->bio_free, "BIO_free") && find(&to->bio_read, "BIO_read") &&
           find(&to->print, "X509_NAME_print_ex");
}

static bool read_common_name(const struct crypto *crypto, void *name, struct bytes *to) {
    int index = crypto->index_by_nid(name, NID_COMMON_NAME, -1);
    if (index < 0)
        return true; /* it has none */
    void *entry = crypto->entry(name, index);
    void *data = entry ? crypto->entry_data(entry) : NULL;
    unsigned char *text = NULL;
    int len = data ? crypto->to_utf8(&text, data) : -1;
    if (len < 0)
        return false;
    bytes_add(to, text, (size_t)len);
    crypto->free(text, __FILE__, __LINE__);
    return !to->failed;
}

static bool read_subject(const struct crypto *crypto, void *name, struct bytes *to) {
    void *bio = crypto->bio_new(crypto->memory_method());
    if (!bio)
        return false;
    bool good = crypto->print(bio, name, 0, RFC2253) >= 0;
    char part[256];
    for (int len; good && (len = crypto->bio_read(bio, part, sizeof part)) > 0;)
        bytes_add(to, part, (size_t)len);
    crypto->bio_free(bio);
    return good && !to->failed;
}

bool certificate_read(void *x509, struct bytes *common_name, struct bytes *subject) {
    struct crypto crypto;
    if (!load(&crypto))
        return false;
    void *name = crypto.subject_name(x509);
    bool good = name && read_common_name(&crypto, name, common_name) && read_subject(&crypto, name, subject);
    crypto.x509_free(x509);
    return good;
}

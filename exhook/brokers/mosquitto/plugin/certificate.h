/* Names in a client's certificate, read by the libcrypto that the broker has already loaded. */
#ifndef EXHOOK_CERTIFICATE_H
#define EXHOOK_CERTIFICATE_H

#include "bytes.h"

/* Common name and subject (RFC 2253), as the broker's own use_identity_as_username and use_subject_as_username read
 * them. `x509` is given back. False where they cannot be read: then nothing is known of the client. */
bool certificate_read(void *x509, struct bytes *common_name, struct bytes *subject);

#endif

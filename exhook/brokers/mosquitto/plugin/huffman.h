/* The Huffman code of HPACK (RFC 7541, appendix B). */
#ifndef EXHOOK_HUFFMAN_H
#define EXHOOK_HUFFMAN_H

#include "bytes.h"

/* Append what `data` stands for; false where it is no Huffman code with legal padding. */
bool huffman_decode(const uint8_t *data, size_t len, struct bytes *to);

#endif

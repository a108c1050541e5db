/* SPDX-License-Identifier: MIT */
/* Numbers, hex bytes and words in the small text formats of the models. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* A decimal number, or a hexadecimal one after 0x, of at most `max`. -EINVAL. */
int text_number(const char *text, unsigned max, unsigned *ret_value);
/* A hexadecimal number without prefix, of at most `max`. -EINVAL. */
int text_hex_number(const char *text, unsigned max, unsigned *ret_value);
/* Pairs of hexadecimal digits, blanks between them allowed; at most `size` bytes. -EINVAL. */
int text_hex(const char *text, uint8_t *ret_bytes, size_t size, size_t *ret_len);
/* Cuts the next word off *rest (blanks separate), NULL at the end. Writes into the text. */
char *text_word(char **rest);

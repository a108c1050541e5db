/* SPDX-License-Identifier: MIT */
/* Cards in words: their state, and what their Answer-to-Reset says. */
#pragma once

#include "ctl/peer.h"
#include "ctl/print.h"

enum { CARD_MAX_HEX = 3 * WIRE_MAX_ATR + 1 };

/* "present", "absent", "mute", or the reason why that is not known. Static. */
const char *card_word(const struct peer_state *state);

/* The ATR as "3B 8F …" into `buf` (CARD_MAX_HEX bytes). Returns `buf`. */
char *card_atr(const struct peer_state *state, char *buf);

/* Bytes of "3B 8F …" (blanks or not) into `atr`: their number, 0 for anything that is no ATR's
 * hex. */
size_t card_atr_bytes(const char *hex, uint8_t atr[WIRE_MAX_ATR]);

/* Explains an ATR: lines of `indent` columns to `out`, or members of an object that is open. */
void card_explain(FILE *out, const uint8_t *atr, size_t len, unsigned indent);
void card_explain_json(struct print *print, const uint8_t *atr, size_t len);

/* SPDX-License-Identifier: MIT */
/*
 * Takes command APDUs apart on the card's side: short and extended length. Nobody checks them on
 * the way: what comes here is whatever bytes a program sent, and every length is proven.
 */
#include "ifdhandler/virtual/builtin_command.h"

#include <errno.h>

/* ISO/IEC 7816-3 12.1.3: the seven codings of a command. 0 or -EBADMSG. */
int builtin_command_parse(const uint8_t *in, size_t len, struct builtin_command *ret_command) {
	if (len < 4)
		return -EBADMSG;
	struct builtin_command c = { .cla = in[0], .ins = in[1], .p1 = in[2], .p2 = in[3] };
	size_t body = len - 4;
	const uint8_t *p = in + 4;
	int extended = body >= 3 && p[0] == 0;
	size_t width = extended ? 2 : 1; /* of Lc or Le, behind the zero of the extended coding */
	size_t head = extended ? 3 : 1;
	size_t tail = 0; /* of Le */

	if (body > head) {
		c.lc = extended ? (size_t)p[1] << 8 | p[2] : p[0];
		c.data = p + head;
		if (c.lc == 0 || body < head + c.lc)
			return -EBADMSG;
		tail = body - head - c.lc;
		if (tail != 0 && tail != width)
			return -EBADMSG;
	} else if (body == head) {
		tail = width;
	} else if (body != 0) {
		return -EBADMSG;
	}
	if (tail) {
		const uint8_t *le = in + len - tail;
		c.le = tail == 2 ? (size_t)le[0] << 8 | le[1] : le[0];
		c.le_any = c.le == 0;
		if (c.le_any)
			c.le = tail == 2 ? 65536 : 256;
	}
	*ret_command = c;
	return 0;
}

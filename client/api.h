/* SPDX-License-Identifier: MIT */
/* The public headers as the library itself sees them: what they declare is exported, in spite of
 * -fvisibility=hidden; client.sym says the same to the linker. */
#pragma once

#pragma GCC visibility push(default)
#include "client/winscard.h"
#pragma GCC visibility pop

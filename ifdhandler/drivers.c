/* SPDX-License-Identifier: MIT */
/* The drivers that this handler has: alone in its file, so that a test's handler can have one more. */
#include <stddef.h>

#include "ifdhandler/driver.h"

const struct driver_ops *const drivers[] = { &driver_ccid, &driver_virtual, NULL };

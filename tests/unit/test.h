/* SPDX-License-Identifier: MIT */
/* What every unit test includes: cmocka and its needs in the right order. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

/* SPDX-License-Identifier: MIT */
/* The bed's beginning and end around one test, in the test's own process. For main.c. */
#pragma once

/* `directory` is made; it goes with bed_end, or with directory_remove where a test did not come so far. */
void bed_begin(const char *library, const char *server, const char *directory);
void bed_end(void);
void directory_remove(const char *path);

/* SPDX-License-Identifier: MIT */
/* What the library has to say to a person: stderr, and only if PCSCLITE_DEBUG asks for it. */
#pragma once

/* The levels of PCSCLITE_DEBUG: the variable names the lowest that is printed. */
enum debug_level {
	DEBUG_TRACE = 0,
	DEBUG_INFO = 1,
	DEBUG_ERROR = 2,
	DEBUG_CRITICAL = 3,
};

/* Prints one line if the environment asks for this level. Set-user-ID programs never print. The
 * caller passes no command, answer, PIN or attribute value. errno is kept. */
__attribute__((format(printf, 2, 3))) void debug_log(
	enum debug_level level, const char *format, ...);

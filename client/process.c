/* SPDX-License-Identifier: MIT */
/*
 * A forked child must not speak on its parent's connections. Handlers of pthread_atfork would take
 * locks inside the application's fork; instead one page of ours is wiped by the kernel in every
 * child (MADV_WIPEONFORK, Linux 4.14), so that the owner's number in it reads 0. Where that cannot
 * be had (older kernel, larger pages) the process id is compared, a system call for each function.
 *
 * The page lies in .bss, so that dlclose takes it away with the library.
 */
#include "client/process.h"

#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	PAGE = 4096, /* x86, and most others */
};

static union {
	/* process id; negative while that process resets; 0: wiped, or never used */
	alignas(PAGE) atomic_int owner;
	char fill[PAGE];
} page;

static atomic_bool wiped_by_kernel;

static bool ours(int owner) {
	if (atomic_load_explicit(&wiped_by_kernel, memory_order_relaxed))
		return owner > 0;
	return owner > 0 && owner == getpid();
}

void process_enter(void (*reset)(void)) {
	int owner = atomic_load_explicit(&page.owner, memory_order_acquire);
	while (!ours(owner)) {
		int self = getpid();
		if (owner ==
			-self) { /* another thread of ours is at it: a moment, once in a life */
			sched_yield();
		} else if (atomic_compare_exchange_strong(&page.owner, &owner, -self)) {
			atomic_store(&wiped_by_kernel,
				sysconf(_SC_PAGESIZE) == PAGE &&
					!madvise(&page, PAGE, MADV_WIPEONFORK));
			reset();
			atomic_store_explicit(&page.owner, self, memory_order_release);
			return;
		}
		owner = atomic_load_explicit(&page.owner, memory_order_acquire);
	}
}

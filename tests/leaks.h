/* Criterion passes leaks silently under AddressSanitizer; a suite that ends with `.fini = fail_on_leaks` doesn't. */
#ifndef TESTS_LEAKS_H
#define TESTS_LEAKS_H

#include <stdlib.h>
#include <unistd.h>

int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

/* A child that ends by _exit tells gcov before what it reached; elsewhere this does nothing. */
void __gcov_dump(void) __attribute__((weak));

static inline void child_exit(int code)
{
	if (__gcov_dump)
		__gcov_dump();
	_exit(code);
}

static inline void fail_on_leaks(void)
{
	if (__lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check())
		abort();
}

#endif

/* Criterion passes leaks silently under AddressSanitizer; a suite that ends with `.fini = fail_on_leaks` doesn't. They are
 * looked for there and nowhere else: what a library's threads still hold when a process ends is no leak of ours. */
#ifndef TESTS_LEAKS_H
#define TESTS_LEAKS_H

#include <stdlib.h>
#include <unistd.h>

int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static int leaks_looked_for, leaks_expected;
int __lsan_is_turned_off(void);
__attribute__((weak)) int __lsan_is_turned_off(void)
{
	return !leaks_looked_for || leaks_expected;
}

/* A child that ends by _exit tells gcov before what it reached; elsewhere this does nothing. */
void __gcov_dump(void) __attribute__((weak));

static inline void child_exit(int code)
{
	if (__gcov_dump)
		__gcov_dump();
	_exit(code);
}

/* nng frees what it closes in threads of its own, a moment later: what is a leak stays one. */
#define LEAK_PATIENCE 100 /* times a hundredth of a second */

static inline void fail_on_leaks(void)
{
	int leaks = __lsan_do_recoverable_leak_check != NULL;
	leaks_looked_for = 1;
	for (int i = 0; leaks && i < LEAK_PATIENCE && (leaks = __lsan_do_recoverable_leak_check()) != 0; i++)
		usleep(10000);
	leaks_looked_for = 0;
	if (leaks)
		abort();
}

#endif

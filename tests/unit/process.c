#include "run/process.h"

#include <criterion/criterion.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/resource.h>

static rlim_t files_now(void)
{
	struct rlimit files;
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
	return files.rlim_cur;
}

Test(process, it_may_open_as_many_files_as_it_needs_and_as_it_is_let)
{
	struct rlimit files;
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
	rlim_t most = files.rlim_max < 65536 ? files.rlim_max : 65536;
	files.rlim_cur = 100;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
	tb_process_begin();
	cr_assert_eq(files_now(), most);
}

Test(process, a_limit_that_is_high_enough_stays)
{
	struct rlimit files;
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
	if (files.rlim_max < 65537)
		cr_skip("this user may not open so many files");
	files.rlim_cur = 65537;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
	tb_process_begin();
	cr_assert_eq(files_now(), 65537);
}

#ifndef __SANITIZE_ADDRESS__ /* which has an allocator of its own */
Test(process, memory_that_lies_about_free_is_given_back)
{
	enum { PIECES = 400, SIZE = 100000 };
	void *pieces[PIECES];
	for (int i = 0; i < PIECES; i++)
		pieces[i] = memset(malloc(SIZE), 1, SIZE);
	size_t top = mallinfo2().arena;
	for (int i = 0; i < PIECES - 1; i++) /* the last one keeps the heap from shrinking by itself */
		free(pieces[i]);
	cr_assert_gt(mallinfo2().fordblks, 16u << 20);
	tb_process_trim();
	cr_assert_leq(mallinfo2().arena, top);
	free(pieces[PIECES - 1]);
}
#endif

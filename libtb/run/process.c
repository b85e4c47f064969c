#include "run/process.h"

#include <malloc.h>
#include <signal.h>
#include <stddef.h>
#include <sys/resource.h>

#define FILES_MAX 65536u
#define LARGE_MEMORY (1024 * 1024)
#define PIECES_MAX (16u * 1024 * 1024)
#define ARENAS 2 /* a message is allocated in one thread and freed in another: each further arena keeps some for itself */

static void raise_files(void)
{
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= FILES_MAX)
		return;
	files.rlim_cur = files.rlim_max < FILES_MAX ? files.rlim_max : FILES_MAX;
	setrlimit(RLIMIT_NOFILE, &files); /* with fewer it works as well, for fewer peers */
}

void tb_process_begin(void)
{
	sigset_t all;
	mallopt(M_MMAP_THRESHOLD, LARGE_MEMORY); /* fixed: else glibc keeps ever larger pieces once they were freed */
	mallopt(M_ARENA_MAX, ARENAS);
	raise_files();
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
}

void tb_process_trim(void)
{
	if (mallinfo2().fordblks > PIECES_MAX)
		malloc_trim(0);
}

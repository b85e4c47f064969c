/* A file that is nowhere but in memory, and yet has a path: for readers that take one. */
#ifndef TB_FUZZ_FILE_H
#define TB_FUZZ_FILE_H

#include "fuzz/fuzz.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct fuzz_file {
	int fd;
	char path[40];
} fuzz_file;

static inline fuzz_file fuzz_file_make(tb_span bytes)
{
	fuzz_file file = { .fd = memfd_create("fuzz", MFD_CLOEXEC) };
	hold(file.fd >= 0);
	hold(fchmod(file.fd, 0600) == 0);
	hold(bytes.size == 0 || write(file.fd, bytes.data, bytes.size) == (ssize_t)bytes.size);
	snprintf(file.path, sizeof(file.path), "/proc/self/fd/%d", file.fd);
	return file;
}

static inline void fuzz_file_close(fuzz_file *file)
{
	close(file->fd);
}

#endif

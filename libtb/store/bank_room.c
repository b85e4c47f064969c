#include "store/bank_room.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define LOCK_ROOM (40 * 1024) /* a little more than its readers take; LMDB uses what is there */

static const char *name_in(const char *dir, const char *name, tb_buf *path)
{
	tb_buf_print(path, "%s/%s", dir, name);
	return tb_buf_text(path);
}

/* One that is there keeps its size: others may have mapped it. */
static int fill(int fd)
{
	struct stat info;
	if (fstat(fd, &info) != 0)
		return errno;
	if (fallocate(fd, 0, 0, info.st_size > 0 ? info.st_size : LOCK_ROOM) == 0 || errno == EOPNOTSUPP)
		return 0;
	return errno;
}

tb_rc tb_bank_take_room(const char *dir, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	const char *name = name_in(dir, "lock.mdb", &path);
	int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return tb_fail_errno(err, errno, "can't open %s", name);
	int code = fill(fd);
	close(fd);
	return code == 0 ? TB_OK : tb_fail_errno(err, code, "can't take room for %s", name);
}

int tb_bank_is_full(const char *dir)
{
	struct statvfs room;
	return statvfs(dir, &room) == 0 && room.f_bavail == 0;
}

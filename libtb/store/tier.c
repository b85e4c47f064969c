#include "store/tier.h"

#include <string.h>

#define NAME_MAX_SIZE 512

/* A row a kind of place. The rest of the address, behind the scheme, goes to its driver. */
static const struct {
	const char *scheme;
	tb_rc (*open)(tb_disk *disk, const char *path, const char *url, int create, tb_tier **ret_tier, tb_err *err);
} drivers[] = {
	{ "file://", tb_tier_dir_open },
	{ "s3://", NULL },
};

tb_rc tb_tier_open(tb_disk *disk, const char *url, int create, tb_tier **ret_tier, tb_err *err)
{
	for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++) {
		size_t size = strlen(drivers[i].scheme);
		if (strncmp(url, drivers[i].scheme, size) != 0)
			continue;
		if (drivers[i].open == NULL)
			return tb_fail(err, TB_EUNSUPPORTED, "%s: repositories at %s are not in this version", url,
			               drivers[i].scheme);
		return drivers[i].open(disk, url + size, url, create, ret_tier, err);
	}
	if (strstr(url, "://") != NULL) {
		tb_fail(err, TB_EINVAL, "%s is not an address of a repository", url);
		tb_hint(err, "a path, or file:///path");
		return TB_EINVAL;
	}
	return tb_tier_dir_open(disk, url, url, create, ret_tier, err);
}

void tb_tier_close(tb_tier *tier)
{
	if (tier != NULL)
		tier->close(tier);
}

tb_rc tb_tier_name_check(const char *name, tb_err *err)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/";
	size_t size = strnlen(name, NAME_MAX_SIZE + 1);
	int good = size >= 1 && size <= NAME_MAX_SIZE && name[strspn(name, letters)] == '\0' && name[size - 1] != '/';
	for (size_t i = 0; good && i < size; i++)
		if (i == 0 || name[i - 1] == '/')
			good = name[i] != '.' && name[i] != '/';
	if (good)
		return TB_OK;
	return tb_fail(err, TB_EINVAL, "bad name in a repository: \"%.128s\"", name);
}

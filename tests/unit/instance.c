#include "store/instance.h"

#include "fault/fault_disk.h"
#include "run/config.h"
#include "store_fixture.h"

#include <dirent.h>

TestSuite(instance, .init = dir_make, .fini = dir_remove);

static int is_empty(const char *path)
{
	int count = 0;
	DIR *directory = opendir(path);
	if (directory == NULL)
		return 1;
	for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
		count += entry->d_name[0] != '.';
	closedir(directory);
	return count == 0;
}

Test(instance, is_not_made_where_a_file_is)
{
	tb_buf kit = { 0 };
	must(tb_disk_write_file(tb_disk_system(), below("file"), tb_span_text("mine"), 0, &err));
	cr_assert_eq(tb_instance_make(tb_disk_system(), below("file"), (tb_span){ 0 }, NOW, &kit, &err), TB_EBUSY);
	cr_assert_not_null(strstr(err.text, "no directory"), "%s", err.text);
}

Test(instance, whatever_fails_in_making_one_leaves_a_directory_to_try_again)
{
	struct fault_disk fault;
	tb_buf kit = { 0 };
	tb_rc rc = TB_EIO;
	char path[200];
	snprintf(path, sizeof(path), "%s", below("instance"));
	fault_disk_init(&fault, tb_disk_system());
	for (unsigned long nth = 1; rc != TB_OK; nth++) {
		cr_assert_lt(nth, 1000);
		fault_disk_fail(&fault, FAULT_CHANGE & ~(unsigned)FAULT_UNLINK, nth, TB_EIO);
		rc = tb_instance_make(&fault.disk, path, tb_span_text("# none\n"), NOW, &kit, &err);
		cr_assert(rc == TB_OK || (rc == TB_EIO && kit.size == 0 && is_empty(path)), "call %lu: %s", nth, err.text);
	}
	must(tb_instance_check(tb_disk_system(), path, &err));
	cr_assert_gt(kit.size, 0);
	tb_buf_drop(&kit);
	fault_disk_drop(&fault);
}

Test(instance, its_repository_is_where_its_configuration_says_or_in_it)
{
	static const char *const rows[][2] = { { NULL, "/repository" }, { "repository: /srv/far\n", "/srv/far" } };
	for (size_t i = 0; i < 2; i++) {
		tb_auto(tb_buf_drop) tb_buf path = { 0 };
		if (rows[i][0] != NULL)
			must(tb_disk_write_file(tb_disk_system(), below("tb.yaml"), tb_span_text(rows[i][0]), 0, &err));
		must(tb_config_repository(dir, &path, &err));
		const char *behind = rows[i][0] == NULL ? tb_buf_text(&path) + strlen(dir) : tb_buf_text(&path);
		cr_assert_str_eq(behind, rows[i][1]);
	}
}

#include "fault/fault_disk.h"
#include "store_fixture.h"

#include <sys/stat.h>

static struct fault_disk fault;

static void set_up(void)
{
	dir_make();
	fault_disk_init(&fault, tb_disk_system());
}

static void tear_down(void)
{
	fault_disk_drop(&fault);
	dir_remove();
}

TestSuite(disk, .init = set_up, .fini = tear_down);

static tb_rc count_entry(void *context, const char *name, int is_dir, tb_err *why)
{
	(void)name, (void)is_dir, (void)why;
	++*(int *)context;
	return TB_OK;
}

static int entries(void)
{
	int count = 0;
	must(tb_disk_system()->list(tb_disk_system(), dir, count_entry, &count, &err));
	return count;
}

Test(disk, whatever_fails_in_writing_a_file_leaves_nothing_beside_it)
{
	static const unsigned calls[] = { FAULT_OPEN, FAULT_WRITE, FAULT_SYNC, FAULT_RENAME };
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		fault_disk_fail(&fault, calls[i], 1, TB_EIO);
		cr_assert_eq(tb_disk_write_file(&fault.disk, below("file"), tb_span_text("bytes"), 0, &err), TB_EIO);
		cr_assert_eq(entries(), 0, "call %u", calls[i]);
	}
	fault_disk_fail(&fault, 0, 0, TB_OK);
	must(tb_disk_write_file(&fault.disk, below("file"), tb_span_text("bytes"), 0, &err));
	cr_assert_eq(entries(), 1);
}

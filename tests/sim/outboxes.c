/* What becomes of an engine's outbox when it dies. Of what it accepted and the broker didn't say to be durable, any may be
 * lost then; everything else has to be there in the end, in order and once. */
#include "sim.h"

#include <stdio.h>
#include <unistd.h>

#define PAGE 4096u
#define FILE_MAX (256u * 1024) /* larger ones are left alone: it would take too long */

static const char *const copies[] = { "copy", "other-copy" };

static const char *beside(const struct sim_engine *engine, const char *suffix)
{
	static char paths[2][160];
	static unsigned turn;
	char *path = paths[turn++ & 1];
	snprintf(path, sizeof(paths[0]), "%s.%s", engine->path, suffix);
	return path;
}

static int read_all(const char *path, tb_buf *bytes)
{
	tb_err err = { 0 };
	if (tb_disk_read_file(tb_disk_system(), path, FILE_MAX, bytes, &err) == TB_OK)
		return 1;
	sim_fail("can't read %s: %s", path, err.text);
	return 0;
}

static void write_all(const char *path, const tb_buf *bytes)
{
	FILE *file = fopen(path, "wb");
	if (file == NULL || fwrite(bytes->data, 1, bytes->size, file) != bytes->size || fclose(file) != 0)
		sim_fail("can't write %s", path);
}

static void copy(const char *from, const char *to)
{
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	if (read_all(from, &bytes))
		write_all(to, &bytes);
}

void outbox_synced(struct sim_engine *engine)
{
	if (engine->value_max > 4096 || sim.rates.outbox == 0)
		return;
	engine->synced = 1;
	copy(engine->path, beside(engine, "synced"));
}

/* Each page as it was synced, or as it was left. */
static void cut_power(struct sim_engine *engine)
{
	tb_auto(tb_buf_drop) tb_buf was = { 0 }, is = { 0 };
	if (!read_all(beside(engine, "synced"), &was) || !read_all(engine->path, &is))
		return;
	for (size_t at = 0; at < is.size; at += PAGE)
		if (sim_below(2))
			memcpy(is.data + at, was.data + at, is.size - at < PAGE ? is.size - at : PAGE);
	write_all(engine->path, &is);
	write_all(beside(engine, "synced"), &is);
	engine->boot_id[15]++;
}

static void lose(struct sim_engine *engine)
{
	unlink(engine->path);
}

/* Of one file or of another that went on from the same. */
static void put_back(struct sim_engine *engine)
{
	copy(beside(engine, copies[sim_below(engine->copied)]), engine->path);
	copy(engine->path, beside(engine, "synced"));
}

/* While it holds nothing that the broker hasn't: else that would come behind what follows. */
void outbox_copy(struct sim_engine *engine)
{
	if (engine->value_max > 4096 || sim.rates.outbox == 0 || sim_below(60) != 0)
		return;
	size_t slot = engine->copied < 2 ? engine->copied++ : (size_t)sim_below(2);
	copy(engine->path, beside(engine, copies[slot]));
}

void outbox_strike(struct sim_engine *engine, uint64_t undelivered)
{
	static const struct {
		const char *what;
		void (*strike)(struct sim_engine *engine);
	} rows[] = { { "is lost", lose }, { "loses pages with the power", cut_power }, { "is an older copy", put_back },
	            { "is an older copy", put_back } };
	if (engine->value_max > 4096 || !sim_strikes(sim.rates.outbox))
		return;
	size_t row = sim_below(engine->copied ? 4 : 2);
	engine->struck = 1;
	sim.counts[SIM_OUTBOXES]++;
	for (uint64_t i = engine->count - undelivered; i < engine->count; i++)
		engine->events[i].may_be_lost = 1;
	rows[row].strike(engine);
	sim_say("the outbox of %s %s; %llu events may be lost", engine->name, rows[row].what, (unsigned long long)undelivered);
}

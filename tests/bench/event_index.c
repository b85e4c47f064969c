/* How fast the event index takes keys (durable: a synced transaction a batch, merging included), and how long a lookup
 * takes.
 *
 *   bench-event_index [--keys 10000000] [--batch 40000] [--lookups 100000] [--dir DIR] */
#include "base/bytes.h"
#include "base/clock.h"
#include "base/disk.h"
#include "run/options.h"
#include "store/event_index.h"

#include <stdio.h>
#include <stdlib.h>

struct config {
	uint64_t keys, batch, lookups;
	char *dir;
};

#define AT(field) offsetof(struct config, field)
static const tb_opt rows[] = {
	{ "keys", 'n', TB_OPT_UINT, AT(keys), "10000000", "1..10000000000", "N", "Keys to add.", 1 },
	{ "batch", 'b', TB_OPT_UINT, AT(batch), "40000", "1..10000000", "N", "Keys in a transaction.", 1 },
	{ "lookups", 'l', TB_OPT_UINT, AT(lookups), "100000", "1..100000000", "N", "Keys to look up.", 1 },
	{ "dir", 'd', TB_OPT_TEXT, AT(dir), "/tmp", NULL, "DIR", "Where the bank is made, and removed at the end.", 1 },
	{ 0 },
};

static void must(tb_rc rc, const tb_err *err)
{
	if (rc == TB_OK)
		return;
	fprintf(stderr, "bench-event_index: %s\n", err->text);
	exit(tb_rc_exit(rc));
}

static uint64_t mix(uint64_t value)
{
	value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
	return value ^ value >> 31;
}

/* Stands for the hash of event `number`. */
static void hash_of(uint64_t number, uint8_t hash[TB_INDEX_HASH])
{
	tb_put64(hash, mix(number * UINT64_C(0x9e3779b97f4a7c15)));
	tb_put64(hash + 8, mix(~number));
}

static uint64_t now(void)
{
	return tb_mono_ns(tb_clock_system());
}

static int compare_times(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
	return left < right ? -1 : left > right;
}

static void print_times(const char *what, uint32_t *times, size_t count)
{
	qsort(times, count, sizeof(*times), compare_times);
	printf("%s: p50 %.1f us, p99 %.1f us, most %.1f us\n", what, times[count / 2] / 1e3, times[count * 99 / 100] / 1e3,
	       times[count - 1] / 1e3);
}

static void add_batch(tb_bank *bank, tb_event_index *index, tb_index_entry *entries, uint64_t from, uint64_t to)
{
	tb_err err;
	tb_txn *txn;
	int more;
	for (uint64_t number = from; number <= to; number++) {
		uint8_t hash[TB_INDEX_HASH];
		hash_of(number, hash);
		tb_index_entry_fill(&entries[number - from], hash, number);
	}
	must(tb_bank_write(bank, &txn, &err), &err);
	must(tb_event_index_add(index, txn, entries, from, to, &err), &err);
	must(tb_event_index_merge(index, txn, 32768 + 4 * (to - from + 1), &more, &err), &err);
	must(tb_txn_commit(txn, &err), &err);
}

static void add_all(const struct config *config, tb_bank *bank, tb_event_index *index)
{
	tb_index_entry *entries = tb_alloc(config->batch * sizeof(*entries));
	size_t batches = (size_t)((config->keys + config->batch - 1) / config->batch), most = 0;
	uint32_t *times = tb_alloc(batches * sizeof(*times));
	uint64_t begun = now();
	for (size_t i = 0; i < batches; i++) {
		uint64_t from = i * config->batch + 1, to = from + config->batch - 1, start = now();
		add_batch(bank, index, entries, from, to < config->keys ? to : config->keys);
		times[i] = (uint32_t)(now() - start);
		if (tb_event_index_runs(index) > most)
			most = tb_event_index_runs(index);
	}
	double seconds = (double)(now() - begun) / 1e9;
	printf("added: %llu keys in %.2f s: %.0f keys/s, durable, %llu a transaction; at most %zu runs, now %zu\n",
	       (unsigned long long)config->keys, seconds, (double)config->keys / seconds, (unsigned long long)config->batch,
	       most, tb_event_index_runs(index));
	print_times("a transaction", times, batches);
	printf("bank: %.1f bytes a key\n", (double)tb_bank_bytes(bank) / (double)config->keys);
	free(times);
	free(entries);
}

static tb_rc note_found(void *context, uint64_t number, tb_err *err)
{
	(void)err;
	*(uint64_t *)context = number;
	return TB_OK;
}

/* Each in a transaction of its own, as a command would. */
static void look_up(const struct config *config, tb_bank *bank, const tb_event_index *index, const char *what,
                    uint64_t base)
{
	uint32_t *times = tb_alloc(config->lookups * sizeof(*times));
	tb_err err;
	for (size_t i = 0; i < config->lookups; i++) {
		uint64_t number = base + mix(i + 1) % config->keys + 1, found = 0, start = now();
		uint8_t hash[TB_INDEX_HASH];
		tb_txn *txn;
		hash_of(number, hash);
		must(tb_bank_read(bank, &txn, &err), &err);
		must(tb_event_index_find(index, txn, hash, note_found, &found, &err), &err);
		tb_txn_abort(txn);
		times[i] = (uint32_t)(now() - start);
		if (found != (base == 0 ? number : 0)) {
			fprintf(stderr, "bench-event_index: key %llu isn't found rightly\n", (unsigned long long)number);
			exit(1);
		}
	}
	print_times(what, times, config->lookups);
	free(times);
}

int main(int argc, char **argv)
{
	struct config config;
	tb_options options;
	tb_err err;
	int operands;
	tb_options_init(&options, rows, &config);
	must(tb_options_args(&options, argc, argv, &operands, &err), &err);
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_buf_print(&path, "%s/tb-bench-XXXXXX", config.dir);
	if (mkdtemp((char *)(uintptr_t)tb_buf_text(&path)) == NULL)
		must(tb_fail(&err, TB_EIO, "can't make %s", tb_buf_text(&path)), &err);
	tb_bank *bank;
	tb_txn *txn;
	tb_event_index *index;
	must(tb_bank_open(tb_buf_text(&path), TB_BANK_WRITER, 0, &bank, &err), &err);
	must(tb_bank_write(bank, &txn, &err), &err);
	must(tb_event_index_open(txn, 1, &index, &err), &err);
	must(tb_txn_commit(txn, &err), &err);
	add_all(&config, bank, index);
	look_up(&config, bank, index, "a lookup that finds", 0);
	look_up(&config, bank, index, "a lookup that doesn't", config.keys);
	tb_event_index_free(index);
	tb_bank_close(bank);
	tb_disk_remove_tree(tb_disk_system(), tb_buf_text(&path), NULL);
	tb_options_drop(&options);
	return 0;
}

/* Runs a target without libFuzzer: each file of a corpus as it is, then shortened, with flipped bits, and with pieces
 * written over, as many in all as are allowed, always the same ones. For ordinary builds, with sanitizers and without.
 *
 *   fuzz-TARGET FILE|DIRECTORY…    TB_FUZZ_RUNS=20000
 *
 * What it was at when the process ended is left in crash-TARGET in the working directory. */
#include "fuzz/fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEED_MAX (1u << 20)
#define SEEDS_MAX 4096u

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static struct {
	const char *target;
	char **paths;
	size_t path_count;
	const uint8_t *data;
	size_t size;
	uint64_t chance, runs, runs_max;
} run = { .chance = 1, .runs_max = 20000 };

/* Async-signal-safe. */
static void save(void)
{
	char name[256] = "crash-";
	strncat(name, run.target, sizeof(name) - sizeof("crash-"));
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd < 0)
		return;
	ssize_t put = write(fd, run.data, run.size);
	close(fd);
	static const char text[] = "the input is in ";
	if (put == (ssize_t)run.size && write(2, text, sizeof(text) - 1) > 0 && write(2, name, strlen(name)) > 0)
		put = write(2, "\n", 1);
}

static void died(int number)
{
	save();
	signal(number, SIG_DFL);
	raise(number);
}

static void watch(void)
{
	static const int numbers[] = { SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL };
	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(save);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (i == 0 || !__sanitizer_set_death_callback)
			signal(numbers[i], died);
}

/* From memory of exactly that size, so that a sanitizer sees a read beyond. */
static void run_one(const uint8_t *data, size_t size)
{
	uint8_t *copy = tb_alloc(size ? size : 1);
	if (size > 0)
		memcpy(copy, data, size);
	run.data = copy;
	run.size = size;
	run.runs++;
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

static uint64_t chance_below(uint64_t limit)
{
	run.chance ^= run.chance << 13;
	run.chance ^= run.chance >> 7;
	run.chance ^= run.chance << 17;
	return run.chance % limit;
}

static void add_path(const char *path)
{
	run.paths = tb_realloc(run.paths, (run.path_count + 1) * sizeof(*run.paths));
	run.paths[run.path_count++] = tb_strdup(path);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add(const char *path)
{
	struct stat info;
	if (stat(path, &info) != 0) {
		perror(path);
		exit(2);
	}
	if (!S_ISDIR(info.st_mode)) {
		add_path(path);
		return;
	}
	DIR *directory = opendir(path);
	for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
		tb_auto(tb_buf_drop) tb_buf name = { 0 };
		tb_buf_print(&name, "%s/%s", path, entry->d_name);
		if (entry->d_name[0] != '.' && run.path_count < SEEDS_MAX)
			add_path(tb_buf_text(&name));
	}
	if (directory != NULL)
		closedir(directory);
}

static tb_buf read_seed(const char *path)
{
	tb_buf seed = { 0 };
	FILE *file = fopen(path, "rb");
	if (file == NULL) {
		perror(path);
		exit(2);
	}
	tb_buf_reserve(&seed, SEED_MAX);
	seed.size = fread(seed.data, 1, SEED_MAX, file);
	fclose(file);
	return seed;
}

/* Each `step`th length, then each `step`th bit, so that both come to about half of what is allowed. */
static void cut_and_flip(tb_buf *seed, uint64_t allowed)
{
	uint64_t step = seed->size * 4 / (allowed + 1) + 1;
	for (size_t size = 0; size < seed->size; size += step)
		run_one(seed->data, size);
	step = seed->size * 8 * 4 / (allowed + 1) + 1;
	for (size_t bit = 0; bit < seed->size * 8; bit += step) {
		seed->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		run_one(seed->data, seed->size);
		seed->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

static void scramble(const tb_buf *seed, uint64_t times)
{
	static const uint8_t bytes[] = { 0, 1, 0x7f, 0x80, 0xff };
	tb_auto(tb_buf_drop) tb_buf copy = { 0 };
	for (uint64_t i = 0; i < times && seed->size > 0; i++) {
		tb_buf_clear(&copy);
		tb_buf_append_span(&copy, tb_buf_span(seed));
		for (uint64_t changes = 1 + chance_below(4); changes > 0; changes--) {
			size_t from = chance_below(copy.size), to = chance_below(copy.size), size = 1 + chance_below(16);
			size_t most = copy.size - (from > to ? from : to);
			size = size < most ? size : most;
			if (chance_below(2))
				memmove(copy.data + to, copy.data + from, size);
			else
				memset(copy.data + to, bytes[chance_below(sizeof(bytes))], size < 9 ? size : 8);
		}
		run_one(copy.data, copy.size);
	}
}

int main(int argc, char **argv)
{
	const char *name = strrchr(argv[0], '/');
	const char *runs = getenv("TB_FUZZ_RUNS");
	run.target = name ? name + 1 : argv[0];
	run.runs_max = runs ? strtoull(runs, NULL, 10) : run.runs_max;
	watch();
	for (int i = 1; i < argc; i++)
		add(argv[i]);
	if (run.path_count == 0) {
		fprintf(stderr, "%s: no inputs\n", run.target);
		return 2;
	}
	qsort(run.paths, run.path_count, sizeof(*run.paths), by_name);
	run_one(NULL, 0);
	for (size_t i = 0; i < run.path_count; i++) {
		tb_auto(tb_buf_drop) tb_buf seed = read_seed(run.paths[i]);
		run_one(seed.data, seed.size);
		uint64_t allowed = run.runs_max / run.path_count;
		cut_and_flip(&seed, allowed);
		scramble(&seed, allowed / 2);
		free(run.paths[i]);
	}
	free(run.paths);
	printf("%s: %llu inputs\n", run.target, (unsigned long long)run.runs);
	return 0;
}

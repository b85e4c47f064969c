/* A test about the source itself: what it includes, calls and says. The tree is the one this file was compiled from. */
#include "base/buf.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <ftw.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOURCE_SIZE_MAX (4 * 1024 * 1024)
#define LINES_MAX 600

typedef struct source {
	char *path; /* below the root */
	char *text;
} source;

static char root[PATH_MAX];
static source *sources;
static size_t source_count;
static int offences;

/* What isn't ours to judge: the repository's own records and what a build or a run leaves, at the top only. */
static const char *const passed_over[] = { ".git", "build*", "var" };

static int starts(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static int ends(const char *text, const char *with)
{
	size_t size = strlen(text), tail = strlen(with);
	return size >= tail && strcmp(text + size - tail, with) == 0;
}

static void add_source(const char *path, size_t size)
{
	char *text = tb_alloc(size + 1);
	FILE *file = fopen(path, "rb");
	size_t got = file ? fread(text, 1, size, file) : 0;
	if (file)
		fclose(file);
	text[got] = '\0';
	if (memchr(text, '\0', got) != NULL) {
		free(text);
		return; /* not a text */
	}
	sources = tb_realloc(sources, (source_count + 1) * sizeof(*sources));
	sources[source_count++] = (source){ tb_strdup(path + strlen(root) + 1), text };
}

static int visit(const char *path, const struct stat *info, int type, struct FTW *where)
{
	for (size_t i = 0; i < sizeof(passed_over) / sizeof(*passed_over); i++)
		if (where->level == 1 && fnmatch(passed_over[i], path + where->base, 0) == 0)
			return type == FTW_D ? FTW_SKIP_SUBTREE : FTW_CONTINUE; /* .git is a file where it is a second worktree */
	if (type == FTW_F && S_ISREG(info->st_mode) && info->st_size <= SOURCE_SIZE_MAX)
		add_source(path, (size_t)info->st_size);
	return FTW_CONTINUE;
}

static void go_up(char *path)
{
	char *slash = strrchr(path, '/');
	cr_assert_not_null(slash, "%s has no folder above", path);
	*slash = '\0';
}

static void set_up(void)
{
	cr_assert_not_null(realpath(__FILE__, root), "%s is no longer there", __FILE__);
	for (int i = 0; i < 3; i++)
		go_up(root); /* tests/unit/layers.c */
	cr_assert_eq(nftw(root, visit, 16, FTW_PHYS | FTW_ACTIONRETVAL), 0);
	cr_assert_gt(source_count, 0);
}

static void tear_down(void)
{
	for (size_t i = 0; i < source_count; i++) {
		free(sources[i].path);
		free(sources[i].text);
	}
	free(sources);
}

TestSuite(layers, .init = set_up, .fini = tear_down);

static void offend(const char *path, const char *what, const char *which)
{
	fprintf(stderr, "%s: %s %s\n", path, what, which);
	offences++;
}

static int is_code(const char *path)
{
	return (starts(path, "libtb/") || starts(path, "broker/") || starts(path, "workers/")) &&
	       (ends(path, ".c") || ends(path, ".h"));
}

/* Is word one of the words, which have a space on each side? */
static int holds_word(const char *words, const char *word)
{
	size_t size = strlen(word);
	for (const char *at = words; (at = strstr(at, word)) != NULL; at++)
		if (at > words && at[-1] == ' ' && at[size] == ' ')
			return 1;
	return 0;
}

static const char *skip_blanks(const char *at)
{
	return at + strspn(at, " \t");
}

/* The next file included from *at on, which is advanced; 0 when there is none. */
static int next_include(const char **at, char out[128])
{
	while (**at != '\0') {
		const char *line = skip_blanks(*at);
		*at += strcspn(*at, "\n");
		*at += **at == '\n';
		if (*line != '#' || !starts(skip_blanks(line + 1), "include"))
			continue;
		line = skip_blanks(skip_blanks(line + 1) + strlen("include"));
		if (*line == '"' || *line == '<') {
			snprintf(out, 128, "%.*s", (int)strcspn(line + 1, "\">\n"), line + 1);
			return 1;
		}
	}
	return 0;
}

Test(layers, includes_are_read_however_they_are_written)
{
	const char *at = "#include <a.h>\n\t# \tinclude\"b/b.h\" \n#define include <c.h>\n/* #include <d.h> */\n"
	                 "#include<e/e.h>";
	char name[128];
	cr_assert(next_include(&at, name));
	cr_assert_str_eq(name, "a.h");
	cr_assert(next_include(&at, name));
	cr_assert_str_eq(name, "b/b.h");
	cr_assert(next_include(&at, name));
	cr_assert_str_eq(name, "e/e.h");
	cr_assert_not(next_include(&at, name));
}

static const char rooms[] = " tb base gaps wire store bus run broker workers proto .. ";

static const struct {
	const char *folder;
	const char *may; /* include the rooms */
} layers[] = {
	{ "libtb/include/", " tb " },
	{ "libtb/base/", " tb base " },
	{ "libtb/gaps/", " tb base gaps " },
	{ "libtb/wire/", " tb base wire proto " },
	{ "libtb/store/", " tb base wire store proto " },
	{ "libtb/bus/", " tb base wire bus proto " },
	{ "libtb/run/", " tb base wire store bus run proto " },
	{ "broker/", " tb base wire store bus run proto broker " },
	{ "workers/", " tb base gaps wire store bus run proto broker workers " },
	{ "docs/examples/", " tb " },
};

static const char *rooms_allowed(const char *path)
{
	for (size_t i = 0; i < sizeof(layers) / sizeof(*layers); i++)
		if (starts(path, layers[i].folder))
			return layers[i].may;
	return is_code(path) ? " " : NULL;
}

/* The room that an included name belongs to; "" for the system's and a folder's own headers. */
static void room_of(const char *name, char out[128])
{
	size_t size = strcspn(name, "/");
	snprintf(out, 128, "%.*s", (int)size, name);
	if (name[size] == '\0')
		snprintf(out, 128, "%s", ends(name, ".pb-c.h") || ends(name, ".def") ? "proto" : "");
	else if (!holds_word(rooms, out))
		*out = '\0';
}

Test(layers, each_room_includes_only_what_lies_below_it)
{
	char name[128], room[128];
	for (size_t i = 0; i < source_count; i++) {
		const char *may = rooms_allowed(sources[i].path);
		for (const char *at = sources[i].text; may != NULL && next_include(&at, name);) {
			room_of(name, room);
			if (*room != '\0' && !holds_word(may, room))
				offend(sources[i].path, "may not include", name);
		}
	}
	cr_assert_eq(offences, 0);
}

static const struct {
	const char *header; /* as its name begins */
	const char *homes;
} libraries[] = {
	{ "nng/", " libtb/bus/bus_nng.c libtb/bus/nng_address.c libtb/bus/nng_close.c libtb/bus/nng_parts.h " },
	{ "lmdb.h", " libtb/store/bank.c " },
	{ "zstd", " libtb/store/seal.c " },
	{ "libical/", " libtb/gaps/zone.c libtb/gaps/ics.c " },
};

Test(layers, a_library_is_known_in_its_home_only)
{
	char name[128];
	for (size_t i = 0; i < source_count; i++)
		for (const char *at = sources[i].text; is_code(sources[i].path) && next_include(&at, name);)
			for (size_t j = 0; j < sizeof(libraries) / sizeof(*libraries); j++)
				if (starts(name, libraries[j].header) && !holds_word(libraries[j].homes, sources[i].path))
					offend(sources[i].path, "may not include", name);
	cr_assert_eq(offences, 0);
}

/* Behind the comment or literal that begins at `at`; at itself when none does. */
static const char *skip_prose(const char *at)
{
	if (at[0] == '/' && at[1] == '/')
		return at + strcspn(at, "\n");
	if (at[0] == '/' && at[1] == '*') {
		const char *end = strstr(at + 2, "*/");
		return end ? end + 2 : at + strlen(at);
	}
	if (*at != '"' && *at != '\'')
		return at;
	const char *end = at + 1;
	while (*end != '\0' && *end != '\n' && *end != *at)
		end += *end == '\\' && end[1] != '\0' ? 2 : 1;
	return end + (*end == *at);
}

static int is_name(char letter)
{
	return isalnum((unsigned char)letter) || letter == '_';
}

/* Finds the first call of one of the words, outside of comments and literals. */
static int find_call(const char *text, const char *words, char out[64])
{
	for (const char *at = text; *at != '\0';) {
		const char *behind = skip_prose(at);
		if (behind != at) {
			at = behind;
			continue;
		}
		size_t size = 0;
		while (is_name(at[size]))
			size++;
		snprintf(out, 64, "%.*s", (int)size, at);
		const char *next = at + size + strspn(at + size, " \t\n");
		if (size > 0 && *next == '(' && holds_word(words, out))
			return 1;
		at += size ? size : 1;
	}
	return 0;
}

static const char banned[] = " strcpy strcat sprintf vsprintf gets strtok atoi system rand srand ";

Test(layers, calls_are_told_from_prose)
{
	char name[64];
	cr_assert(find_call("x = atoi (text);", banned, name));
	cr_assert_str_eq(name, "atoi");
	cr_assert(find_call("f('\\'', \"\\\"\", rand());", banned, name));
	cr_assert(find_call("/* one */ system(line) /* two */", banned, name));
	cr_assert_not(find_call("/* the file system (ext4) */", banned, name));
	cr_assert_not(find_call("// system(x)\n\"rand()\"; tb_disk_system(); strtok_r(a, b, c); int rand;", banned, name));
	cr_assert_not(find_call("/* not ended: rand()", banned, name));
	cr_assert_not(find_call("\"not ended: rand()", banned, name));
}

Test(layers, banned_calls_are_nowhere)
{
	char name[64];
	for (size_t i = 0; i < source_count; i++)
		if (is_code(sources[i].path) && find_call(sources[i].text, banned, name))
			offend(sources[i].path, "may not call", name);
	cr_assert_eq(offences, 0);
}

Test(layers, no_file_is_too_long_to_read)
{
	for (size_t i = 0; i < source_count; i++) {
		size_t lines = 0;
		for (const char *at = sources[i].text; is_code(sources[i].path) && (at = strchr(at, '\n')) != NULL; at++)
			lines++;
		if (lines > LINES_MAX)
			offend(sources[i].path, "has too many lines:", "split it by job");
	}
	cr_assert_eq(offences, 0);
}

static int says(const char *text, const char *what)
{
	size_t size = strlen(what);
	int whole = is_name(what[0]);
	for (const char *at = text; (at = strstr(at, what)) != NULL; at++)
		if (!whole || ((at == text || !is_name(at[-1])) && !is_name(at[size])))
			return 1;
	return 0;
}

Test(layers, no_text_speaks_of_unfinished_work_or_of_one_machine)
{
	/* In two halves, as this is a text too. */
	static const char *const unsaid[] = { "/wo" "rk/", "TO" "DO", "FIX" "ME" };
	for (size_t i = 0; i < source_count; i++)
		for (size_t j = 0; j < sizeof(unsaid) / sizeof(*unsaid); j++)
			if (says(sources[i].text, unsaid[j]))
				offend(sources[i].path, "says", unsaid[j]);
	cr_assert_eq(offences, 0);
}

/* Where the generated headers are: TB_PROTO_DIR, or below the build that this program is in (tests/test-layers). */
static void find_proto(char out[PATH_MAX + 16])
{
	char program[PATH_MAX];
	const char *named = getenv("TB_PROTO_DIR");
	ssize_t size = readlink("/proc/self/exe", program, sizeof(program) - 1);
	cr_assert_gt(size, 0);
	program[size] = '\0';
	go_up(program);
	go_up(program);
	if (named != NULL)
		snprintf(out, PATH_MAX + 16, "-I%s", named);
	else
		snprintf(out, PATH_MAX + 16, "-I%s/proto", program);
}

/* Runs a compiler to its end; its exit status, or -1 when there is no such program. */
static int run(char *const argv[])
{
	pid_t child;
	int status, failed = posix_spawnp(&child, argv[0], NULL, NULL, argv, environ);
	if (failed == ENOENT)
		return -1;
	cr_assert_eq(failed, 0, "%s: %s", argv[0], strerror(failed));
	cr_assert_eq(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static int compile_alone(const char *compiler, const char *standard, const char *language, const char *path)
{
	char proto[PATH_MAX + 16], header[PATH_MAX + 128];
	find_proto(proto);
	snprintf(header, sizeof(header), "%s/%s", root, path);
	cr_assert_eq(chdir(root), 0);
	const char *const argv[] = {
		compiler, standard,     "-fsyntax-only", "-D_GNU_SOURCE", "-DTB_VERSION=\"\"", "-Wall",      "-Wextra",
		"-Werror", "-Wshadow",  "-Wundef",       "-I.",           "-Ilibtb/include",   "-Ilibtb",    "-Iproto",
		proto,     "-x",        language,        "-include",      header,              "/dev/null",  NULL,
	};
	return run((char *const *)argv);
}

static const char *from_environment(const char *name, const char *otherwise)
{
	const char *value = getenv(name);
	return value != NULL && *value != '\0' ? value : otherwise;
}

static void compile_headers(const char *compiler, const char *standard, const char *language, const char *folder)
{
	for (size_t i = 0; i < source_count; i++) {
		if (!is_code(sources[i].path) || !ends(sources[i].path, ".h") || !starts(sources[i].path, folder))
			continue;
		int status = compile_alone(compiler, standard, language, sources[i].path);
		if (status < 0) {
			fprintf(stderr, "SKIPPED: there is no %s here, so headers were not compiled as %s\n", compiler, language);
			cr_skip_test("there is no %s", compiler);
		}
		if (status != 0)
			offend(sources[i].path, "does not compile alone as", language);
	}
	cr_assert_eq(offences, 0);
}

Test(layers, every_header_compiles_alone)
{
	compile_headers(from_environment("CC", "cc"), "-std=gnu17", "c", "");
}

Test(layers, public_headers_compile_as_cxx_too)
{
	compile_headers(from_environment("CXX", "g++"), "-std=c++17", "c++", "libtb/include/tb/");
}

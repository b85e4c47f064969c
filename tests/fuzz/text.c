/* Short texts, as a command line has them. The first byte: 0 a time, 1 a count, 2 a size, 3 a span, 4 names and how far
 * apart they are, 5 a whole command line, a word each up to NUL, 6 names of streams and of a tier, 7 an address of the bus. What is read is
 * written as a text that reads the same. */
#include "fuzz/fuzz.h"

#include "base/clock.h"
#include "bus/address.h"
#include "run/config.h"
#include "store/tier.h"
#include "wire/event.h"
#include "wire/frame.h"

#define TEXT_SIZE 512

static void read_time(tb_span input)
{
	char text[TEXT_SIZE], again[TB_TIME_TEXT_SIZE];
	uint64_t ns, same;
	fuzz_take_text(&input, text, sizeof(text));
	if (!tb_time_parse(text, &ns))
		return;
	tb_time_text(again, ns);
	hold(tb_time_parse(again, &same) && same == ns);
}

static void read_count(tb_span input)
{
	char text[TEXT_SIZE];
	uint64_t value;
	fuzz_take_text(&input, text, sizeof(text));
	tb_uint_parse(text, &value);
}

static void read_size(tb_span input)
{
	char text[TEXT_SIZE];
	tb_auto(tb_buf_drop) tb_buf again = { 0 };
	uint64_t bytes, same;
	fuzz_take_text(&input, text, sizeof(text));
	if (!tb_size_parse(text, &bytes))
		return;
	tb_size_text(&again, bytes);
	hold(tb_size_parse(tb_buf_text(&again), &same) && same == bytes);
}

static void read_span(tb_span input)
{
	char text[TEXT_SIZE];
	tb_auto(tb_buf_drop) tb_buf again = { 0 };
	uint64_t ns, same;
	fuzz_take_text(&input, text, sizeof(text));
	if (!tb_span_parse(text, &ns))
		return;
	tb_span_text_ns(&again, ns);
	hold(tb_span_parse(tb_buf_text(&again), &same) && same == ns);
}

static void compare_names(tb_span input)
{
	char a[TEXT_SIZE], b[TEXT_SIZE];
	fuzz_take_text(&input, a, sizeof(a));
	fuzz_take_text(&input, b, sizeof(b));
	tb_name_distance(a, b);
	if (strlen(a) < 32)
		hold(tb_name_distance(a, a) == 0 || tb_name_distance(a, a) == SIZE_MAX);
}

static void read_args(tb_span input)
{
	char words[16][TEXT_SIZE], *argv[18] = { (char *)(uintptr_t)"tb-broker" };
	int argc = 1, operands;
	tb_broker_config config;
	tb_options options;
	tb_err err;
	while (argc < 17 && input.size > 0) {
		fuzz_take_text(&input, words[argc - 1], TEXT_SIZE);
		argv[argc] = words[argc - 1];
		argc++;
	}
	tb_options_init(&options, tb_broker_rows, &config);
	tb_rc rc = tb_options_args(&options, argc, argv, &operands, &err);
	if (rc != TB_OK)
		fuzz_refused(rc, &err);
	else
		hold(operands >= 0 && operands < argc);
	tb_options_drop(&options);
}

static void check_names(tb_span input)
{
	char name[TEXT_SIZE], lower[TEXT_SIZE];
	tb_err err;
	fuzz_take_text(&input, name, sizeof(name));
	tb_rc rc = tb_stream_check(name, &err);
	if (rc != TB_OK)
		fuzz_refused(rc, &err);
	else
		hold(strlen(name) <= 128 && strchr(name, '/') == NULL && name[0] != '.' && tb_stream_hash(name) != 0);
	rc = tb_tier_name_check(name, &err);
	if (rc != TB_OK)
		fuzz_refused(rc, &err);
	else
		hold(name[0] != '/' && strstr(name, "..") != name && strstr(name, "/.") == NULL);
	memcpy(lower, name, sizeof(lower));
	uint64_t value;
	tb_bit_phase_of_hash(lower, (uint32_t)fuzz_take(&input, 1), &value, NULL);
	tb_event_kind_of(name);
}

static void read_address(tb_span input)
{
	char text[TEXT_SIZE];
	tb_auto(tb_buf_drop) tb_buf again = { 0 };
	tb_address address, same;
	tb_err err;
	fuzz_take_text(&input, text, sizeof(text));
	tb_rc rc = tb_address_read(text, &address, &err);
	if (rc != TB_OK) {
		fuzz_refused(rc, &err);
		hold(rc == TB_EINVAL || rc == TB_EREFUSED);
		return;
	}
	hold(strncmp(text, address.url, strlen(address.url)) == 0);
	hold((address.keys != NULL) == (strncmp(text, "tls+tcp://", 10) == 0));
	if (strncmp(text, "tcp://", 6) == 0)
		return; /* "unprotected" isn't told on */
	tb_address_print(&again, address.url, address.keys);
	hold(strcmp(tb_buf_text(&again), text) == 0);
	hold(tb_address_read(tb_buf_text(&again), &same, &err) == TB_OK && strcmp(same.url, address.url) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const ways[])(tb_span input) = { read_time, read_count, read_size, read_span, compare_names, read_args,
		                                       check_names, read_address };
	tb_span input = tb_span_of(data, size);
	ways[fuzz_take(&input, 1) % (sizeof(ways) / sizeof(ways[0]))](input);
	return 0;
}

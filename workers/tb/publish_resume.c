/* How far earlier runs came with which input. See publish.h for why it holds.
 *
 * The file is JSON: {"inputs":[{"begins":"<hash>","size":65536,"lines":17,"first":0}, …]}, the newest last. */
#include "workers/tb/publish.h"

#include <jansson.h>
#include <sodium.h>
#include <stdlib.h>

#define FILE_MAX 262144u

static void hash_beginning(uint8_t hash[TB_INPUT_HASH], tb_span beginning, uint64_t size)
{
	crypto_generichash(hash, TB_INPUT_HASH, beginning.data, size, NULL, 0);
}

static int begins_so(const tb_input *input, tb_span beginning)
{
	uint8_t hash[TB_INPUT_HASH];
	if (input->size == 0 || input->size > beginning.size)
		return 0;
	hash_beginning(hash, beginning, input->size);
	return memcmp(hash, input->hash, sizeof(hash)) == 0;
}

tb_input *tb_inputs_find(const tb_inputs *inputs, tb_span beginning)
{
	tb_input *found = NULL;
	for (size_t i = 0; i < inputs->count; i++) {
		tb_input *input = &inputs->items[i];
		if ((found == NULL || input->size > found->size) && begins_so(input, beginning))
			found = input;
	}
	return found;
}

int tb_inputs_open(const tb_inputs *inputs)
{
	for (size_t i = 0; i < inputs->count; i++)
		if (inputs->items[i].first != 0)
			return 1;
	return 0;
}

void tb_inputs_close(tb_inputs *inputs, uint64_t last)
{
	for (size_t i = 0; i < inputs->count; i++) {
		tb_input *input = &inputs->items[i];
		if (input->first != 0 && last >= input->first)
			input->lines += last - input->first + 1;
		input->first = 0;
	}
}

static void remove_at(tb_inputs *inputs, size_t index)
{
	inputs->count--;
	memmove(inputs->items + index, inputs->items + index + 1, (inputs->count - index) * sizeof(*inputs->items));
}

static void add(tb_inputs *inputs, const tb_input *input)
{
	inputs->items = tb_realloc(inputs->items, (inputs->count + 1) * sizeof(*inputs->items));
	inputs->items[inputs->count++] = *input;
}

void tb_inputs_note(tb_inputs *inputs, tb_span beginning, uint64_t lines, uint64_t first)
{
	tb_input noted = { .size = beginning.size, .lines = lines, .first = first };
	const tb_input *known = tb_inputs_find(inputs, beginning);
	hash_beginning(noted.hash, beginning, beginning.size);
	if (known != NULL)
		remove_at(inputs, (size_t)(known - inputs->items));
	else if (inputs->count >= TB_INPUTS_MAX)
		remove_at(inputs, 0);
	add(inputs, &noted);
}

void tb_inputs_drop(tb_inputs *inputs)
{
	free(inputs->items);
	*inputs = (tb_inputs){ 0 };
}

/* Text */

static int read_count(json_t *object, const char *name, uint64_t *value)
{
	json_t *number = json_object_get(object, name);
	if (!json_is_integer(number) || json_integer_value(number) < 0)
		return 0;
	*value = (uint64_t)json_integer_value(number);
	return 1;
}

static int read_input(json_t *object, tb_input *input)
{
	const char *begins = json_string_value(json_object_get(object, "begins"));
	return begins != NULL && tb_unhex(input->hash, TB_INPUT_HASH, begins) && read_count(object, "size", &input->size) &&
	       read_count(object, "lines", &input->lines) && read_count(object, "first", &input->first) &&
	       input->size > 0 && input->size <= TB_INPUT_BEGINNING;
}

tb_rc tb_inputs_read(tb_span text, tb_inputs *ret_inputs, tb_err *err)
{
	tb_inputs inputs = { 0 };
	json_t *object = json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, NULL);
	json_t *list = json_object_get(object, "inputs");
	int sound = json_is_array(list) && json_array_size(list) <= TB_INPUTS_MAX;
	for (size_t i = 0; sound && i < json_array_size(list); i++) {
		tb_input input = { 0 };
		sound = read_input(json_array_get(list, i), &input);
		if (sound)
			add(&inputs, &input);
	}
	json_decref(object);
	if (!sound) {
		tb_inputs_drop(&inputs);
		return tb_fail(err, TB_ECORRUPT, "it doesn't say how far which input was published");
	}
	*ret_inputs = inputs;
	return TB_OK;
}

static json_t *describe(const tb_input *input)
{
	char hex[2 * TB_INPUT_HASH + 1];
	tb_hex(hex, input->hash, TB_INPUT_HASH);
	return json_pack("{s:s, s:I, s:I, s:I}", "begins", hex, "size", (json_int_t)input->size, "lines",
	                 (json_int_t)input->lines, "first", (json_int_t)input->first);
}

void tb_inputs_write(const tb_inputs *inputs, tb_buf *to)
{
	json_t *list = json_array();
	for (size_t i = 0; i < inputs->count; i++)
		json_array_append_new(list, describe(&inputs->items[i]));
	json_t *object = json_pack("{s:o}", "inputs", list);
	char *text = json_dumps(object, JSON_COMPACT);
	tb_buf_print(to, "%s\n", text);
	free(text);
	json_decref(object);
}

/* The file */

tb_rc tb_inputs_load(tb_disk *disk, const char *path, tb_inputs *ret_inputs, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	tb_err why = { 0 };
	tb_rc rc = tb_disk_read_file(disk, path, FILE_MAX, &text, err);
	if (rc == TB_ENOTFOUND) {
		*ret_inputs = (tb_inputs){ 0 };
		return TB_OK;
	}
	if (rc != TB_OK)
		return rc;
	rc = tb_inputs_read(tb_buf_span(&text), ret_inputs, &why);
	if (rc != TB_OK) {
		tb_fail(err, rc, "%s is damaged: %s", path, why.text);
		tb_hint(err, "move it away, and say with --from-line N where to go on");
	}
	return rc;
}

tb_rc tb_inputs_save(tb_disk *disk, const char *path, const tb_inputs *inputs, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	tb_inputs_write(inputs, &text);
	return tb_disk_write_file(disk, path, tb_buf_span(&text), TB_DISK_PRIVATE, err);
}

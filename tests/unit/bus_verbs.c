#include "base/disk.h"
#include "bus/bus.h"
#include "frames.pb-c.h"
#include "leaks.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(control, .fini = fail_on_leaks);
TestSuite(verbs, .fini = fail_on_leaks);
TestSuite(address, .fini = fail_on_leaks);

/* ---- control frames */

static void write_stat(tb_buf *to)
{
	Tb__StatReply reply = TB__STAT_REPLY__INIT;
	reply.journal_bytes = 123456789;
	reply.now_ns = 42;
	tb_control_write(to, TB_KIND_ANSWER, &reply.base);
}

static tb_rc read_stat(tb_span *from, tb_arena *arena, Tb__StatReply **ret_reply, tb_err *err)
{
	return tb_control_read(from, TB_KIND_ANSWER, &tb__stat_reply__descriptor, arena, (ProtobufCMessage **)ret_reply, err);
}

Test(control, a_message_comes_back_and_what_follows_is_left)
{
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	tb_arena *arena = tb_arena_new();
	Tb__StatReply *reply;
	tb_buf_append(&bytes, "before", 6); /* it is appended to what is there */
	write_stat(&bytes);
	tb_buf_append(&bytes, "behind", 6);
	tb_span rest = tb_span_of(bytes.data + 6, bytes.size - 6);
	cr_assert_eq(read_stat(&rest, arena, &reply, NULL), TB_OK);
	cr_assert_eq(reply->journal_bytes, 123456789);
	cr_assert_eq(reply->now_ns, 42);
	cr_assert(tb_span_equal(rest, tb_span_text("behind")));
	tb_arena_free(arena);
}

Test(control, cut_anywhere_it_is_refused_and_nothing_is_read)
{
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	tb_arena *arena = tb_arena_new();
	write_stat(&bytes);
	for (size_t size = 0; size < bytes.size; size++) {
		tb_err err = { 0 };
		Tb__StatReply *reply;
		uint8_t *cut = tb_alloc(size); /* of its own, so that reading behind it shows */
		memcpy(cut, bytes.data, size);
		tb_span rest = tb_span_of(cut, size);
		cr_assert_eq(read_stat(&rest, arena, &reply, &err), TB_ECORRUPT, "cut at %zu", size);
		cr_assert_eq(rest.size, size);
		cr_assert(err.text[0] != '\0');
		free(cut);
	}
	tb_arena_free(arena);
}

Test(control, any_flipped_bit_is_noticed)
{
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	tb_arena *arena = tb_arena_new();
	write_stat(&bytes);
	for (size_t bit = 0; bit < bytes.size * 8; bit++) {
		Tb__StatReply *reply;
		tb_span rest = tb_buf_span(&bytes);
		bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert_eq(read_stat(&rest, arena, &reply, NULL), TB_ECORRUPT, "bit %zu", bit);
		bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	tb_arena_free(arena);
}

Test(control, another_kind_is_refused_by_name)
{
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	tb_arena *arena = tb_arena_new();
	tb_err err;
	Tb__StatReply *reply;
	Tb__StatRequest request = TB__STAT_REQUEST__INIT;
	tb_control_write(&bytes, TB_KIND_STAT, &request.base);
	tb_span rest = tb_buf_span(&bytes);
	cr_assert_eq(read_stat(&rest, arena, &reply, &err), TB_ECORRUPT);
	cr_assert(strstr(err.text, "stat") && strstr(err.text, "answer"), "%s", err.text);
	tb_arena_free(arena);
}

Test(control, a_whole_frame_whose_body_is_no_message_is_refused)
{
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	tb_arena *arena = tb_arena_new();
	Tb__StatReply *reply;
	tb_frame_write(&bytes, &(tb_frame){ .kind = TB_KIND_ANSWER, .count = 1, .body = tb_span_text("\xff\xff\xff") });
	tb_span rest = tb_buf_span(&bytes);
	cr_assert_eq(read_stat(&rest, arena, &reply, NULL), TB_ECORRUPT);
	tb_arena_free(arena);
}

/* ---- verbs, over a bus that answers what it is told to */

struct canned {
	tb_bus bus;
	tb_buf answer, asked;
	tb_rc rc;
};

static tb_rc canned_request(tb_bus *bus, tb_span request, uint64_t timeout_ns, tb_buf *ret_answer, tb_err *err)
{
	struct canned *canned = (struct canned *)bus;
	(void)timeout_ns;
	tb_buf_clear(&canned->asked);
	tb_buf_append_span(&canned->asked, request);
	if (canned->rc != TB_OK)
		return tb_fail(err, canned->rc, "nobody there");
	tb_buf_append_span(ret_answer, tb_buf_span(&canned->answer));
	return TB_OK;
}

static void canned_close(tb_bus *bus)
{
	struct canned *canned = (struct canned *)bus;
	tb_buf_drop(&canned->answer);
	tb_buf_drop(&canned->asked);
}

Test(verbs, a_taker_gets_the_reply_and_the_frames_behind_it)
{
	struct canned canned = { .bus = { .request = canned_request, .close = canned_close } };
	tb_arena *arena = tb_arena_new();
	Tb__TakeRequest request = TB__TAKE_REQUEST__INIT;
	Tb__TakeReply said = TB__TAKE_REPLY__INIT, *reply;
	tb_answer answer;
	tb_frame frame;
	said.generation = 7;
	tb_control_write(&canned.answer, TB_KIND_ANSWER, &said.base);
	tb_frame_write(&canned.answer, &(tb_frame){ .kind = TB_KIND_CUT, .first = 9, .body = tb_span_text("cut") });
	cr_assert_eq(tb_bus_take(&canned.bus, &request, 1, arena, &reply, &answer, NULL), TB_OK);
	cr_assert_eq(reply->generation, 7);
	cr_assert_eq(tb_frame_read(&answer.frames, &frame, NULL), TB_OK);
	cr_assert_eq(frame.first, 9);
	cr_assert_eq(answer.frames.size, 0);
	tb_answer_drop(&answer);
	tb_bus_close(&canned.bus);
	tb_arena_free(arena);
}

Test(verbs, a_put_carries_its_frames_behind_the_request)
{
	struct canned canned = { .bus = { .request = canned_request, .close = canned_close } };
	tb_arena *arena = tb_arena_new();
	Tb__PutRequest request = TB__PUT_REQUEST__INIT;
	Tb__PutReply said = TB__PUT_REPLY__INIT, *reply;
	ProtobufCMessage *asked;
	request.generation = 3;
	tb_control_write(&canned.answer, TB_KIND_ANSWER, &said.base);
	cr_assert_eq(tb_bus_put(&canned.bus, &request, tb_span_text("frames"), 1, arena, &reply, NULL), TB_OK);
	tb_span rest = tb_buf_span(&canned.asked);
	cr_assert_eq(tb_control_read(&rest, TB_KIND_PUT, &tb__put_request__descriptor, arena, &asked, NULL), TB_OK);
	cr_assert_eq(((Tb__PutRequest *)asked)->generation, 3);
	cr_assert(tb_span_equal(rest, tb_span_text("frames")));
	tb_bus_close(&canned.bus);
	tb_arena_free(arena);
}

struct lending {
	struct canned canned;
	int lent;
};

static void take_back(void *lent)
{
	((struct lending *)lent)->lent--;
}

static tb_rc lending_ask(tb_bus *bus, const tb_span *parts, size_t count, uint64_t timeout_ns, tb_answer *ret_answer,
                         tb_err *err)
{
	struct lending *lending = (struct lending *)bus;
	(void)timeout_ns;
	(void)err;
	for (size_t i = 0; i < count; i++)
		tb_buf_append_span(&lending->canned.asked, parts[i]);
	lending->lent++;
	*ret_answer = (tb_answer){ .whole = tb_buf_span(&lending->canned.answer), .lent = lending, .give_back = take_back };
	return TB_OK;
}

Test(verbs, an_answer_that_is_lent_is_read_where_it_lies_and_given_back)
{
	struct lending lending = { .canned.bus = { .ask = lending_ask, .close = canned_close } };
	tb_arena *arena = tb_arena_new();
	Tb__TakeRequest request = TB__TAKE_REQUEST__INIT;
	Tb__TakeReply said = TB__TAKE_REPLY__INIT, *reply;
	Tb__PutRequest put = TB__PUT_REQUEST__INIT;
	Tb__PutReply *done;
	tb_answer answer;
	tb_control_write(&lending.canned.answer, TB_KIND_ANSWER, &said.base);
	tb_buf_print(&lending.canned.answer, "frames");
	cr_assert_eq(tb_bus_take(&lending.canned.bus, &request, 1, arena, &reply, &answer, NULL), TB_OK);
	cr_assert_eq(lending.lent, 1);
	cr_assert_eq(answer.frames.data, lending.canned.answer.data + lending.canned.answer.size - 6);
	tb_answer_drop(&answer);
	cr_assert_eq(lending.lent, 0);
	tb_answer_drop(&answer);
	cr_assert_eq(lending.lent, 0);
	tb_buf_clear(&lending.canned.asked);
	cr_assert_eq(tb_bus_put(&lending.canned.bus, &put, tb_span_text("frames"), 1, arena, &done, NULL), TB_OK);
	cr_assert_eq(lending.lent, 0, "nobody wanted more than the reply");
	cr_assert_eq(memcmp(lending.canned.asked.data + lending.canned.asked.size - 6, "frames", 6), 0);
	tb_bus_close(&lending.canned.bus);
	tb_arena_free(arena);
}

static tb_rc hello_answered(uint32_t code, char *text, char *hint, tb_err *err)
{
	struct canned canned = { .bus = { .request = canned_request, .close = canned_close } };
	tb_arena *arena = tb_arena_new();
	Tb__HelloRequest request = TB__HELLO_REQUEST__INIT;
	Tb__HelloReply said = TB__HELLO_REPLY__INIT, *reply = NULL;
	Tb__Status status = TB__STATUS__INIT;
	status.code = code;
	status.text = text;
	status.hint = hint;
	said.status = &status;
	tb_control_write(&canned.answer, TB_KIND_ANSWER, &said.base);
	tb_rc rc = tb_bus_hello(&canned.bus, &request, 1, arena, &reply, err);
	cr_assert_eq(reply != NULL, rc == TB_OK || rc == TB_EFENCED);
	tb_bus_close(&canned.bus);
	tb_arena_free(arena);
	return rc;
}

Test(verbs, a_refusal_comes_back_as_its_code_sentence_and_hint)
{
	tb_err err;
	cr_assert_eq(hello_answered(TB_EFENCED, "another process publishes it", "stop this one", &err), TB_EFENCED);
	cr_assert_eq(err.rc, TB_EFENCED);
	cr_assert_str_eq(err.text, "another process publishes it");
	cr_assert_str_eq(err.hint, "stop this one");
	cr_assert_eq(hello_answered(TB_EFULL, "", "", &err), TB_EFULL);
	cr_assert(strstr(err.text, "hello"), "%s", err.text);
	cr_assert_eq(hello_answered(4711, "a code of the future", "", &err), TB_EUNSUPPORTED);
	cr_assert_eq(hello_answered(TB_OK, "", "", NULL), TB_OK);
}

Test(verbs, an_answer_that_is_none_and_a_silent_broker_are_told_apart)
{
	struct canned canned = { .bus = { .request = canned_request, .close = canned_close } };
	tb_arena *arena = tb_arena_new();
	Tb__StatReply *reply;
	tb_err err;
	tb_buf_print(&canned.answer, "no frame at all");
	cr_assert_eq(tb_bus_stat(&canned.bus, 1, arena, &reply, &err), TB_ECORRUPT);
	cr_assert(strstr(err.text, "stat"), "%s", err.text);
	canned.rc = TB_EUNREACHABLE;
	cr_assert_eq(tb_bus_stat(&canned.bus, 1, arena, &reply, &err), TB_EUNREACHABLE);
	cr_assert_str_eq(err.text, "nobody there");
	tb_bus_close(&canned.bus);
	tb_arena_free(arena);
}

/* ---- addresses */

Test(address, it_is_absolute_and_without_symlinks)
{
	char directory[] = "/tmp/tb-address-XXXXXX", link[64], expected[PATH_MAX];
	tb_auto(tb_buf_drop) tb_buf url = { 0 };
	cr_assert(mkdtemp(directory));
	snprintf(link, sizeof(link), "%s/link", directory);
	snprintf(expected, sizeof(expected), "ipc://%s/run/broker.ipc", directory);
	cr_assert_eq(symlink(directory, link), 0);
	cr_assert_eq(tb_bus_address(link, "broker", &url, NULL), TB_OK);
	cr_assert_str_eq((const char *)url.data, expected);
	cr_assert_eq(tb_bus_address(directory, "broker", &url, NULL), TB_OK); /* replaces what was there */
	cr_assert_str_eq(tb_buf_text(&url), expected);
	cr_assert_eq(chdir(directory), 0);
	cr_assert_eq(tb_bus_address(".", "broker", &url, NULL), TB_OK);
	cr_assert_str_eq(tb_buf_text(&url), expected);
	snprintf(expected, sizeof(expected), "ipc://%s/none/run/events.ipc", directory);
	cr_assert_eq(tb_bus_address("none", "events", &url, NULL), TB_OK);
	cr_assert_str_eq(tb_buf_text(&url), expected);
	tb_disk_remove_tree(tb_disk_system(), directory, NULL);
}

Test(address, one_that_no_socket_can_have_is_refused_with_a_hint)
{
	tb_auto(tb_buf_drop) tb_buf dir = { 0 }, url = { 0 };
	tb_err err;
	tb_buf_print(&dir, "/none");
	while (dir.size + strlen("/run/broker.ipc") < 107)
		tb_buf_byte(&dir, 'x');
	cr_assert_eq(tb_bus_address(tb_buf_text(&dir), "broker", &url, &err), TB_OK);
	cr_assert_eq(url.size, strlen("ipc://") + 107);
	tb_buf_byte(&dir, 'x');
	cr_assert_eq(tb_bus_address(tb_buf_text(&dir), "broker", &url, &err), TB_EINVAL);
	cr_assert(err.hint[0] != '\0');
}

Test(address, a_directory_whose_whole_path_is_too_long_is_refused)
{
	char dir[4090];
	tb_auto(tb_buf_drop) tb_buf url = { 0 };
	tb_err err;
	memset(dir, 'x', sizeof(dir));
	for (size_t i = 0; i < sizeof(dir); i += 100)
		dir[i] = i == 0 ? 'x' : '/';
	dir[sizeof(dir) - 1] = '\0';
	cr_assert_eq(tb_bus_address(dir, "broker", &url, &err), TB_EINVAL);
	cr_assert_not_null(strstr(err.text, "too long"), "%s", err.text);
}

/* Messages, a row each: those of the broker's verbs, those between workers, those in files. The first byte chooses the
 * row, what follows is the message; or, with its highest bit, the whole frame. What is read packs to a message that
 * reads the same. */
#include "fuzz/fuzz_frames.h"

#include "backup.pb-c.h"
#include "banks.pb-c.h"
#include "bus/bus.h"
#include "frames.pb-c.h"
#include "signals.pb-c.h"

static const struct {
	enum tb_kind kind;
	const ProtobufCMessageDescriptor *descriptor;
} rows[] = {
	{ TB_KIND_HELLO, &tb__hello_request__descriptor },
	{ TB_KIND_ANSWER, &tb__hello_reply__descriptor },
	{ TB_KIND_PUT, &tb__put_request__descriptor },
	{ TB_KIND_ANSWER, &tb__put_reply__descriptor },
	{ TB_KIND_TAKE, &tb__take_request__descriptor },
	{ TB_KIND_ANSWER, &tb__take_reply__descriptor },
	{ TB_KIND_FETCH, &tb__fetch_request__descriptor },
	{ TB_KIND_ANSWER, &tb__fetch_reply__descriptor },
	{ TB_KIND_STAT, &tb__stat_request__descriptor },
	{ TB_KIND_ANSWER, &tb__stat_reply__descriptor },
	{ TB_KIND_HEARTBEAT, &tb__heartbeat__descriptor },
	{ TB_KIND_TOLD, &tb__durable__descriptor },
	{ TB_KIND_CUT, &tb__cut__descriptor },
	{ TB_KIND_CHUNK, &tb__chunk__descriptor },
	{ TB_KIND_SEALED, &tb__sealed__descriptor },
	{ TB_KIND_MANIFEST, &tb__manifest_frame__descriptor },
	{ TB_KIND_STORED, &tb__stored__descriptor },
	{ TB_KIND_ORDER, &tb__order__descriptor },
	{ TB_KIND_ANNOUNCE, &tb__announce__descriptor },
	{ TB_KIND_HEALTH, &tb__health__descriptor },
	{ TB_KIND_FINISH, &tb__finish__descriptor },
	{ TB_KIND_LEASE, &tb__lease__descriptor },
	{ TB_KIND_EPOCH, &tb__epoch__descriptor },
	{ TB_KIND_CHECKPOINT, &tb__checkpoint__descriptor },
	{ TB_KIND_REJECT, &tb__manifest__descriptor },
	{ TB_KIND_REJECT, &tb__manifest_private__descriptor },
	{ TB_KIND_REJECT, &tb__backup_ready__descriptor },
	{ TB_KIND_REJECT, &tb__pending_segment__descriptor },
	{ TB_KIND_ASK, &tb__ask__descriptor },
	{ TB_KIND_PRESENT, &tb__present__descriptor },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static tb_arena *arena;

/* What isn't known is kept by protobuf-c, but not always so that it would read it again. */
static void forget_unknown(ProtobufCMessage *message)
{
	message->n_unknown_fields = 0;
	for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
		uint8_t *at = (uint8_t *)message + field->offset;
		if (field->type != PROTOBUF_C_TYPE_MESSAGE)
			continue;
		int list = field->label == PROTOBUF_C_LABEL_REPEATED;
		ProtobufCMessage **parts = list ? *(ProtobufCMessage ***)at : (ProtobufCMessage **)at;
		size_t count = list ? *(size_t *)((uint8_t *)message + field->quantifier_offset) : *parts != NULL;
		for (size_t j = 0; j < count; j++)
			forget_unknown(parts[j]);
	}
}

static void pack_again(size_t row, ProtobufCMessage *message)
{
	tb_auto(tb_buf_drop) tb_buf once = { 0 }, twice = { 0 };
	ProtobufCMessage *again;
	hold(protobuf_c_message_check(message));
	forget_unknown(message);
	tb_control_write(&once, rows[row].kind, message);
	tb_span rest = tb_buf_span(&once);
	hold(tb_control_read(&rest, rows[row].kind, rows[row].descriptor, arena, &again, NULL) == TB_OK);
	hold(rest.size == 0);
	tb_control_write(&twice, rows[row].kind, again);
	hold(tb_span_equal(tb_buf_span(&once), tb_buf_span(&twice)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	tb_auto(tb_buf_drop) tb_buf frame = { 0 };
	tb_span input = tb_span_of(data, size);
	unsigned choice = (unsigned)fuzz_take(&input, 1);
	size_t row = (choice & 0x7f) % ROWS;
	arena = arena ? arena : tb_arena_new();
	if (choice & 0x80)
		tb_buf_append_span(&frame, input);
	else
		tb_frame_write(&frame, &(tb_frame){ .kind = (uint16_t)rows[row].kind, .count = 1, .body = input });
	tb_span rest = tb_buf_span(&frame);
	ProtobufCMessage *message;
	tb_err err;
	tb_rc rc = tb_control_read(&rest, rows[row].kind, rows[row].descriptor, arena, &message, &err);
	if (rc == TB_OK) {
		pack_again(row, message);
	} else {
		fuzz_refused(rc, &err);
		hold(rest.size == frame.size);
	}
	tb_arena_reset(arena);
	return 0;
}

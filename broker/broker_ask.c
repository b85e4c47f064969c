#include "broker/broker_state.h"

#include "base/planted.h"
#include "bus/bus.h"

#include <stdlib.h>

#define SPARE_KEPT 8
/* What requests that wait may hold: one alone, and one on the average of all that may wait. */
#define WAITING_LARGE ((size_t)512 * 1024)
#define WAITING_BYTES ((size_t)128 * 1024)

static const tb_verb verbs[] = {
	{ TB_KIND_HELLO, &tb__hello_request__descriptor, 4096, 0, tb_hello_decide, NULL, tb_hello_tell },
	{ TB_KIND_PUT, &tb__put_request__descriptor, 1 << 20, 1, tb_put_decide, NULL, tb_put_tell },
	{ TB_KIND_TAKE, &tb__take_request__descriptor, 256 << 10, 0, tb_take_decide, tb_take_again, tb_take_tell },
	{ TB_KIND_FETCH, &tb__fetch_request__descriptor, 4096, 0, tb_fetch_decide, NULL, tb_fetch_tell },
	{ TB_KIND_STAT, &tb__stat_request__descriptor, 4096, 0, tb_stat_decide, NULL, tb_stat_tell },
};

static const tb_verb *verb_find(unsigned kind)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (verbs[i].kind == kind)
			return &verbs[i];
	return NULL;
}

static tb_asking *ask_new(tb_broker *broker, void *asker)
{
	tb_arena *arena;
	tb_asking *ask;
	if (broker->spare_count > 0) {
		ask = broker->spare[--broker->spare_count];
		arena = ask->arena;
		tb_arena_reset(arena);
	} else {
		ask = tb_alloc(sizeof(*ask));
		arena = tb_arena_new();
	}
	*ask = (tb_asking){ .asker = asker, .arena = arena, .serial = ++broker->serial };
	return ask;
}

static void push(tb_asking ***array, size_t *count, size_t *capacity, tb_asking *ask)
{
	if (*count == *capacity) {
		*capacity = *capacity ? *capacity * 2 : 16;
		*array = tb_realloc(*array, *capacity * sizeof(**array));
	}
	(*array)[(*count)++] = ask;
}

static void wait_in_line(tb_broker *broker, tb_asking *ask)
{
	push(&broker->asks, &broker->ask_count, &broker->ask_capacity, ask);
	broker->waiting_bytes += ask->size;
}

/* Is there no place for one more behind `count` that hold `bytes`? */
static int line_full(const tb_broker *broker, size_t count, size_t bytes, const tb_asking *ask)
{
	size_t most = broker->options.waiting_max;
	return count >= most || ask->size > WAITING_LARGE || bytes + ask->size > most * WAITING_BYTES;
}

static void ask_done(tb_broker *broker, tb_asking *ask)
{
	push(&broker->spare, &broker->spare_count, &broker->spare_capacity, ask);
}

/* protobuf-c's texts may be missing only in its own defaults, which are empty. */
void tb_ask_status(const tb_asking *ask, Tb__Status *status)
{
	tb__status__init(status);
	status->code = (uint32_t)ask->err.rc;
	status->text = (char *)(uintptr_t)ask->err.text;
	status->hint = (char *)(uintptr_t)ask->err.hint;
}

void tb_ask_answer(tb_broker *broker, tb_asking *ask, const ProtobufCMessage *reply, tb_span frames)
{
	tb_buf_clear(&broker->answer);
	tb_control_write(&broker->answer, TB_KIND_ANSWER, reply);
	tb_buf_append_span(&broker->answer, frames);
	broker->out.answer(broker->out.self, ask->asker, tb_buf_span(&broker->answer));
}

tb_rc tb_ask_journal(const tb_broker *broker, ProtobufCBinaryData journal_id, tb_err *err)
{
	tb_span own = tb_span_of(tb_journal_id(broker->journal), TB_JOURNAL_ID);
	if (journal_id.len == 0 || tb_span_equal(own, tb_span_of(journal_id.data, journal_id.len)))
		return TB_OK;
	tb_fail(err, TB_EREFUSED, "the request is for another journal than the one that the broker has");
	tb_hint(err, "journal/ was lost or replaced: put it back, or restore what you need and make a new instance");
	return TB_EREFUSED;
}

static size_t member_total(const tb_broker *broker)
{
	size_t count = 0;
	for (unsigned i = 0; i < TB_GROUP_COUNT; i++)
		count += broker->groups[i].member_count;
	return count;
}

/* The member that has been silent for longest makes room, if its leases have lapsed anyway. */
static int forget_silent(tb_broker *broker)
{
	uint64_t now = tb_broker_mono(broker), oldest = now;
	tb_group_state *of = NULL;
	size_t at = 0;
	for (unsigned i = 0; i < TB_GROUP_COUNT; i++)
		for (size_t m = 0; m < broker->groups[i].member_count; m++) {
			if (broker->groups[i].members[m].seen_ns >= oldest)
				continue;
			oldest = broker->groups[i].members[m].seen_ns;
			of = &broker->groups[i];
			at = m;
		}
	if (of == NULL || now - oldest < broker->options.lease_ns)
		return 0;
	tb_member_remove(of, at);
	broker->changed = 1;
	return 1;
}

tb_rc tb_ask_member(tb_broker *broker, uint32_t number, ProtobufCBinaryData id, tb_group_state **ret_group,
                    tb_member **ret_member, tb_err *err)
{
	if (number >= TB_GROUP_COUNT)
		return tb_fail(err, TB_EINVAL, "there is no group %u", number);
	tb_group_state *group = &broker->groups[number];
	if (id.len != TB_MEMBER_ID && (id.len != 0 || number != TB_GROUP_NONE))
		return tb_fail(err, TB_EINVAL, "a member's id has %d bytes, not %zu", TB_MEMBER_ID, id.len);
	tb_member *member = id.len > 0 ? tb_member_find(group, id.data) : NULL;
	if (member == NULL && id.len > 0) {
		if (member_total(broker) >= TB_MEMBERS_MAX && !forget_silent(broker))
			return tb_fail(err, TB_EBUSY, "the broker knows %u workers already, and takes no more at once", TB_MEMBERS_MAX);
		member = tb_member_add(group, id.data);
	}
	if (member != NULL) {
		member->seen_ns = tb_broker_mono(broker);
		member->silent = 0;
	}
	*ret_group = group;
	*ret_member = member;
	return TB_OK;
}

void tb_ask_wait(tb_broker *broker, tb_asking *ask, uint64_t wait_ns)
{
	ask->deadline_ns = tb_broker_mono(broker) + wait_ns;
}

/* Told, or to be told later. */
static int serve(tb_broker *broker, tb_asking *ask, uint64_t now, int full)
{
	int final = full || ask->err.rc != TB_OK || ask->superseded || now >= ask->deadline_ns;
	if (!ask->verb->tell(broker, ask, final))
		return 0;
	ask_done(broker, ask);
	return 1;
}

static tb_rc ask_read(tb_asking *ask, tb_span *request, tb_err *err)
{
	tb_frame head;
	tb_rc rc = tb_frame_read_head(*request, &head, err);
	if (rc != TB_OK)
		return rc;
	ask->verb = verb_find(head.kind);
	if (ask->verb == NULL)
		return tb_fail(err, TB_EINVAL, "a frame of kind %u is not a request", head.kind);
	if (head.body.size > ask->verb->size_max)
		return tb_fail(err, TB_EINVAL, "a request of %zu bytes is too large for what it asks: %zu are allowed",
		               head.body.size, ask->verb->size_max);
	if (!ask->verb->bears_frames && request->size > tb_frame_size(&head))
		return tb_fail(err, TB_EINVAL, "something stands behind a request that bears no frames");
	ProtobufCMessage *message = NULL;
	rc = tb_control_read(request, ask->verb->kind, ask->verb->request, ask->arena, &message, err);
	if (rc == TB_OK)
		ask->request = message;
	return rc;
}

/* Not even a request: an answer of any verb begins with its status. */
static void refuse(tb_broker *broker, tb_asking *ask)
{
	Tb__StatReply reply = TB__STAT_REPLY__INIT;
	Tb__Status status;
	broker->refused[TB_REFUSED_SENSELESS]++;
	ask->err.rc = TB_EINVAL;
	tb_ask_status(ask, &status);
	reply.status = &status;
	tb_ask_answer(broker, ask, &reply.base, (tb_span){ 0 });
	ask_done(broker, ask);
}

static enum tb_refusal cause_of(tb_rc rc)
{
	if (rc == TB_EINVAL)
		return TB_REFUSED_SENSELESS;
	return rc == TB_EFENCED ? TB_REFUSED_FENCED : TB_REFUSED_REQUEST;
}

void tb_broker_request(tb_broker *broker, void *asker, tb_span request)
{
	tb_asking *ask = ask_new(broker, asker);
	size_t size = request.size;
	if (ask_read(ask, &request, &ask->err) != TB_OK) {
		refuse(broker, ask);
		return;
	}
	tb_err err = { 0 };
	tb_rc rc = ask->verb->decide(broker, ask, request, &err);
	ask->size = size + tb_arena_size(ask->arena);
	if (rc != TB_OK) {
		ask->err = err;
		broker->refused[cause_of(rc)]++;
	}
	if (broker->batch_count == 0)
		tb_topics_flush(broker);
	int full = line_full(broker, broker->ask_count, broker->waiting_bytes, ask);
	if ((broker->batch_count > 0 && !TB_PLANTED(1)) || !serve(broker, ask, tb_broker_mono(broker), full))
		wait_in_line(broker, ask);
	if (broker->batch_count == 0)
		tb_arena_reset(broker->turn);
}

void tb_asks_again(tb_broker *broker)
{
	for (size_t i = 0; i < broker->ask_count; i++) {
		tb_asking *ask = broker->asks[i];
		if (ask->verb->again != NULL && ask->err.rc == TB_OK && !ask->superseded)
			ask->verb->again(broker, ask);
	}
}

void tb_asks_serve(tb_broker *broker)
{
	uint64_t now = tb_broker_mono(broker);
	size_t kept = 0, bytes = 0;
	for (size_t i = 0; i < broker->ask_count; i++) {
		tb_asking *ask = broker->asks[i];
		if (serve(broker, ask, now, line_full(broker, kept, bytes, ask)))
			continue;
		broker->asks[kept++] = ask;
		bytes += ask->size;
	}
	broker->ask_count = kept;
	broker->waiting_bytes = bytes;
}

uint64_t tb_asks_deadline(const tb_broker *broker)
{
	uint64_t deadline = UINT64_MAX;
	for (size_t i = 0; i < broker->ask_count; i++)
		if (broker->asks[i]->deadline_ns < deadline)
			deadline = broker->asks[i]->deadline_ns;
	return deadline;
}

static void free_asks(tb_asking **asks, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		tb_arena_free(asks[i]->arena);
		free(asks[i]);
	}
	free(asks);
}

void tb_asks_give_back(tb_broker *broker)
{
	while (broker->spare_count > SPARE_KEPT) {
		tb_asking *ask = broker->spare[--broker->spare_count];
		tb_arena_free(ask->arena);
		free(ask);
	}
}

void tb_asks_close(tb_broker *broker)
{
	free_asks(broker->asks, broker->ask_count);
	free_asks(broker->spare, broker->spare_count);
}

#include "broker/broker_state.h"

#define TAKE_MAX (8u << 20)
#define WAIT_MAX (30 * TB_NS_PER_S)

static const Tb__TakeRequest *request_of(const tb_asking *ask)
{
	return (const Tb__TakeRequest *)ask->request;
}

static tb_group_state *group_of(tb_broker *broker, const tb_asking *ask)
{
	return &broker->groups[request_of(ask)->group];
}

/* One request of a member waits at a time: an earlier one was given up. */
static void supersede(tb_broker *broker, const tb_asking *ask)
{
	const Tb__TakeRequest *request = request_of(ask);
	for (size_t i = 0; i < broker->ask_count; i++) {
		tb_asking *other = broker->asks[i];
		if (other->verb != ask->verb || other->err.rc != TB_OK || request_of(other)->group != request->group ||
		    !tb_member_same(request_of(other)->member.data, request->member.data))
			continue;
		other->superseded = 1;
		other->deadline_ns = 0;
	}
}

tb_rc tb_take_decide(tb_broker *broker, tb_asking *ask, tb_span frames, tb_err *err)
{
	const Tb__TakeRequest *request = request_of(ask);
	tb_group_state *group;
	tb_member *member;
	(void)frames;
	tb_rc rc = tb_ask_journal(broker, request->journal_id, err);
	if (rc == TB_OK && request->group == TB_GROUP_NONE)
		rc = tb_fail(err, TB_EINVAL, "only a worker of a group takes frames");
	if (rc == TB_OK && request->n_held > TB_STREAMS_MAX)
		rc = tb_fail(err, TB_EINVAL, "nobody holds %zu streams: there are %u at most", request->n_held, TB_STREAMS_MAX);
	if (rc == TB_OK)
		rc = tb_ask_member(broker, request->group, request->member, &group, &member, err);
	if (rc != TB_OK)
		return rc;
	if (member->turn == 0)
		member->turn = request->turn > 0 ? request->turn : 1; /* 0 is said only by who has just started */
	supersede(broker, ask);
	tb_lease_release_lost(broker, group, member, request->turn);
	tb_leases_reject(broker, request->group);
	tb_lease_grant(broker, ask, 1);
	/* It has to ask again in time to keep its leases. */
	uint64_t wait = request->wait_ms * TB_NS_PER_MS, most = broker->options.lease_ns / 2;
	most = most < WAIT_MAX ? most : WAIT_MAX;
	tb_ask_wait(broker, ask, wait < most ? wait : most);
	return TB_OK;
}

void tb_take_again(tb_broker *broker, tb_asking *ask)
{
	tb_lease_grant(broker, ask, 0);
}

/* ---- handing out */

struct haul {
	tb_broker *broker;
	const Tb__TakeRequest *request;
	tb_group_state *group;
	tb_member *member;
	uint64_t turn; /* number of the answer */
	uint64_t now_ns;
	size_t most;
	size_t count;
	int full;
	tb_err damage; /* the last frame that couldn't be read */
};

struct leased {
	uint64_t id;
	uint32_t attempts;
};

/* What was appended to broker->frames since `before` goes along, if there is room. */
static int haul_frame(struct haul *haul, size_t before, uint64_t id, uint32_t attempts)
{
	tb_buf *frames = &haul->broker->frames;
	if (haul->count > 0 && frames->size > haul->most) {
		frames->size = before;
		haul->full = 1;
		return 0;
	}
	struct leased leased = { id, attempts };
	tb_buf_append(&haul->broker->leased, &leased, sizeof(leased));
	haul->count++;
	haul->full = frames->size >= haul->most;
	return 1;
}

/* One that can't be read counts as handed out, so that it doesn't stand in the way of the others. */
static int haul_open(struct haul *haul, tb_open *open, uint64_t generation)
{
	tb_buf *frames = &haul->broker->frames;
	size_t before = frames->size;
	tb_rc rc = TB_OK;
	if (open->bytes.size > 0)
		tb_buf_append_span(frames, open->bytes);
	else
		rc = tb_journal_read(haul->broker->journal, open->id, frames, &haul->damage);
	if (rc == TB_OK && !haul_frame(haul, before, open->id, open->attempts + 1))
		return 0;
	open->attempts++;
	open->generation = generation;
	open->turn = haul->turn;
	open->since_ns = haul->now_ns;
	memcpy(open->member, haul->request->member.data, TB_MEMBER_ID);
	return 1;
}

static void haul_free(struct haul *haul, tb_opens *opens, int tired)
{
	for (tb_open *open = NULL; !haul->full && (open = tb_opens_next(opens, open)) != NULL;)
		if (!open->leased && (open->attempts >= TB_ATTEMPTS_MAX) == tired && haul_open(haul, open, 0))
			open->leased = 1;
}

/* What is left of the tired ones are those that stay open; one a time, and only to who has nothing else to do. */
static void haul_frames(struct haul *haul)
{
	haul_free(haul, &haul->group->open, 0);
	haul_free(haul, &haul->group->loose, 0);
	if (haul->count > 0)
		return;
	haul->most = 1;
	haul_free(haul, &haul->group->open, 1);
}

static void haul_group(struct haul *haul)
{
	tb_group_state *group = haul->group;
	if (group->generation == 0 || !tb_member_same(group->member, haul->request->member.data) ||
	    group->generation != haul->request->generation)
		return;
	uint64_t before = group->handed_to;
	for (tb_open *open = tb_opens_from(&group->open, before); open != NULL && !haul->full;
	     open = tb_opens_next(&group->open, open))
		if (haul_open(haul, open, group->generation))
			group->handed_to = open->id + 1;
	if (group->handed_to != before)
		group->handed_before = before;
}

/* The streams that the request knows under their present generation. */
static size_t streams_known(struct haul *haul, tb_stream **streams)
{
	size_t count = 0;
	for (size_t i = 0; i < haul->request->n_held; i++) {
		const Tb__Held *held = haul->request->held[i];
		tb_stream *stream = tb_stream_find(haul->broker, held->stream);
		if (stream == NULL || held->generation != stream->generation ||
		    !tb_stream_held_by(stream, haul->request->member.data))
			continue;
		stream->ask_next = held->next;
		streams[count++] = stream;
	}
	return count;
}

static void haul_opens(struct haul *haul, tb_stream *stream, int orders)
{
	for (tb_open *open = NULL; !haul->full && (open = tb_opens_next(&stream->open, open)) != NULL;)
		if ((open->kind == TB_KIND_ORDER) == orders && open->generation != stream->generation)
			haul_open(haul, open, stream->generation);
}

/* One frame of the stream; 0 when there is no more for now. */
static int haul_events(struct haul *haul, tb_stream *stream)
{
	tb_broker *broker = haul->broker;
	size_t before = broker->frames.size;
	uint64_t number = stream->ask_next;
	tb_frame frame;
	if (number > stream->durable || number < tb_first_held(broker, stream))
		return 0;
	if (tb_events_read(broker, stream, number, &broker->frames, &frame, &haul->damage) != TB_OK ||
	    !haul_frame(haul, before, 0, 0))
		return 0;
	stream->ask_next = frame.first + frame.count;
	return 1;
}

static void haul_streams(struct haul *haul)
{
	tb_stream **streams = tb_arena_alloc(haul->broker->turn, haul->request->n_held * sizeof(*streams));
	size_t count = streams_known(haul, streams);
	for (int orders = 1; orders >= 0; orders--)
		for (size_t i = 0; i < count; i++)
			haul_opens(haul, streams[i], orders);
	while (count > 0 && !haul->full) { /* round and round, so that a busy stream doesn't starve the others */
		size_t kept = 0;
		for (size_t i = 0; i < count && !haul->full; i++)
			if (haul_events(haul, streams[i]))
				streams[kept++] = streams[i];
		count = kept;
	}
}

static void haul_all(struct haul *haul)
{
	tb_buf_clear(&haul->broker->frames);
	tb_buf_clear(&haul->broker->leased);
	if (haul->request->nothing)
		return;
	switch (haul->group->row->lease) {
	case TB_LEASE_FRAME:
		haul_frames(haul);
		break;
	case TB_LEASE_GROUP:
		haul_group(haul);
		break;
	case TB_LEASE_STREAM:
		haul_streams(haul);
		break;
	}
}

/* ---- telling */

static Tb__Grant *grant_of(tb_broker *broker, const tb_stream *stream)
{
	Tb__Grant *grant = tb_arena_alloc(broker->turn, sizeof(*grant));
	tb__grant__init(grant);
	grant->name = stream->name;
	grant->stream = stream->hash;
	grant->generation = stream->generation;
	grant->finished = stream->stored;
	grant->cut = stream->cut;
	grant->chain = stream->chain;
	if (stream->chain > 0)
		grant->manifest_hash = tb_binary(stream->manifest_hash, TB_SUM);
	grant->durable = stream->durable;
	grant->first_held = tb_first_held(broker, stream);
	return grant;
}

static void tell_grants(tb_broker *broker, tb_asking *ask, Tb__TakeReply *reply)
{
	const Tb__TakeRequest *request = request_of(ask);
	tb_lease_note_held(broker, ask);
	reply->grants = tb_arena_alloc(broker->turn, broker->stream_count * sizeof(*reply->grants));
	for (uint32_t i = 0; i < broker->stream_count; i++) {
		const tb_stream *stream = broker->streams[i];
		int known = stream->ask == ask->serial && stream->ask_generation == stream->generation;
		if (tb_stream_held_by(stream, request->member.data) && !known)
			reply->grants[reply->n_grants++] = grant_of(broker, stream);
	}
	reply->revoked = tb_arena_alloc(broker->turn, request->n_held * sizeof(*reply->revoked));
	for (size_t i = 0; i < request->n_held; i++) {
		const tb_stream *stream = tb_stream_find(broker, request->held[i]->stream);
		if (stream == NULL || !tb_stream_held_by(stream, request->member.data))
			reply->revoked[reply->n_revoked++] = request->held[i]->stream;
	}
}

static void tell_leased(tb_broker *broker, size_t count, Tb__TakeReply *reply)
{
	const struct leased *leased = (const struct leased *)(const void *)broker->leased.data;
	Tb__Leased *rows = tb_arena_alloc(broker->turn, count * sizeof(*rows));
	reply->leased = tb_arena_alloc(broker->turn, count * sizeof(*reply->leased));
	for (size_t i = 0; i < count; i++) {
		tb__leased__init(&rows[i]);
		rows[i].id = leased[i].id;
		rows[i].attempts = leased[i].attempts;
		reply->leased[i] = &rows[i];
	}
	reply->n_leased = count;
}

static void tell_period(tb_broker *broker, const Tb__TakeRequest *request, Tb__TakeReply *reply)
{
	tb_span known = tb_span_of(request->period_known.data, request->period_known.len);
	if (broker->period.size > 0 && !tb_span_equal(known, tb_span_of(broker->period_hash, TB_SUM)))
		reply->period = tb_binary(broker->period.data, broker->period.size);
}

static struct haul haul_begin(tb_broker *broker, const tb_asking *ask)
{
	const Tb__TakeRequest *request = request_of(ask);
	struct haul haul = { .broker = broker, .request = request, .group = group_of(broker, ask) };
	haul.member = tb_member_find(haul.group, request->member.data);
	haul.most = request->bytes_max > 0 && request->bytes_max < TAKE_MAX ? (size_t)request->bytes_max : TAKE_MAX;
	haul.now_ns = tb_broker_mono(broker);
	uint64_t last = haul.member != NULL ? haul.member->turn : 0;
	haul.turn = (last > request->turn ? last : request->turn) + 1;
	return haul;
}

/* Everything that there is for it. 0: nothing. */
static int tell_all(tb_broker *broker, tb_asking *ask, Tb__TakeReply *reply)
{
	const Tb__TakeRequest *request = request_of(ask);
	struct haul haul = haul_begin(broker, ask);
	if (haul.group->row->lease == TB_LEASE_STREAM)
		tell_grants(broker, ask, reply);
	if (haul.group->row->lease == TB_LEASE_GROUP && tb_member_same(haul.group->member, request->member.data))
		reply->generation = haul.group->generation;
	tell_period(broker, request, reply);
	haul_all(&haul);
	tell_leased(broker, haul.count, reply);
	if (haul.count > 0 && haul.member != NULL)
		haul.member->turn = haul.turn;
	reply->turn = haul.member != NULL ? haul.member->turn : request->turn;
	if (haul.count == 0 && haul.damage.rc != TB_OK)
		ask->err = haul.damage;
	return haul.count > 0 || reply->n_grants > 0 || reply->n_revoked > 0 || reply->period.len > 0 || request->nothing ||
	       reply->generation != request->generation || ask->err.rc != TB_OK;
}

int tb_take_tell(tb_broker *broker, tb_asking *ask, int final)
{
	Tb__TakeReply reply = TB__TAKE_REPLY__INIT;
	Tb__Status status;
	tb_span frames = { 0 };
	if (ask->err.rc == TB_OK && !ask->superseded) {
		if (!tell_all(broker, ask, &reply) && !final)
			return 0;
		frames = tb_buf_span(&broker->frames);
	}
	tb_ask_status(ask, &status);
	reply.status = &status;
	reply.journal_id = tb_journal_name(broker);
	reply.run_id = tb_run_name(broker);
	tb_ask_answer(broker, ask, &reply.base, frames);
	return 1;
}

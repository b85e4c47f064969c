#include "broker/broker_state.h"

#include "base/planted.h"
#define FINISHED_MAX 65536u

/* A put while it is decided. It is done whole or not at all: everything is checked before anything is gathered. */
struct putting {
	tb_put put;
	tb_frame *frames;
	tb_span *bytes; /* the same frames whole */
	tb_verdict *verdicts;
	size_t count;
	uint64_t *finished; /* those of the request that are open */
	size_t finished_count;
	int work;    /* it has something that is kept or finished */
	int fresh;   /* and something of that is new */
	int finishes; /* open frames or further events */
	size_t size; /* of what will be gathered */
	size_t loose, open; /* volatile bytes and open frames that it adds */
	int makes_room; /* the journal shrinks by it in the end */
};

static tb_rc read_frames(struct putting *p, tb_span frames, tb_err *err)
{
	tb_frame frame;
	size_t room = frames.size / TB_FRAME_HEAD + 1;
	p->frames = tb_arena_alloc(p->put.arena, room * sizeof(*p->frames));
	p->bytes = tb_arena_alloc(p->put.arena, room * sizeof(*p->bytes));
	p->verdicts = tb_arena_alloc(p->put.arena, room * sizeof(*p->verdicts));
	while (frames.size > 0) {
		const uint8_t *begin = frames.data;
		tb_err why;
		if (tb_frame_read(&frames, &frame, &why) != TB_OK)
			return tb_fail(err, TB_EINVAL, "a put holds something that isn't a frame: %s", why.text);
		p->bytes[p->count] = tb_span_of(begin, (size_t)(frames.data - begin));
		p->frames[p->count++] = frame;
	}
	return TB_OK;
}

static const char *group_name(const tb_group_state *group)
{
	return group->row != NULL ? group->row->name : "client";
}

static tb_rc check_kinds(struct putting *p, int *ret_leased, tb_err *err)
{
	int leased = p->put.request->n_finished > 0 || p->put.request->finished_to > 0;
	unsigned bit = 1u << p->put.request->group;
	for (size_t i = 0; i < p->count; i++) {
		const tb_check *check = tb_check_find(p->frames[i].kind);
		if (check == NULL || !(check->groups & bit))
			return tb_fail(err, TB_EREFUSED, "a %s may not put frames of kind %s", group_name(p->put.group),
			               tb_kind_find(p->frames[i].kind)->name);
		if (p->frames[i].body.size > check->size_max)
			return tb_fail(err, TB_EINVAL, "a frame of kind %s has %zu bytes at most, not %zu",
			               tb_kind_find(p->frames[i].kind)->name, check->size_max, p->frames[i].body.size);
		leased |= check->leased;
	}
	*ret_leased = leased;
	return TB_OK;
}

static tb_rc fenced(const struct putting *p, const char *what, const char *name, uint64_t present, tb_err *err)
{
	if (present == 0)
		return tb_fail(err, TB_EFENCED, "no %s holds %s%s yet: it is held by who was granted it with a take",
		               group_name(p->put.group), what, name);
	return tb_fail(err, TB_EFENCED, "another %s holds %s%s: its generation is %llu, the put's is %llu",
	               group_name(p->put.group), what, name, (unsigned long long)present,
	               (unsigned long long)p->put.request->generation);
}

/* Generation 0 is that of a lease which was never granted: nobody holds it, whatever id is given. */
static int holds(const struct putting *p, uint64_t generation, const uint8_t *member)
{
	const Tb__PutRequest *request = p->put.request;
	return generation != 0 && (request->generation == generation || TB_PLANTED(3)) &&
	       tb_member_same(request->member.data, member);
}

/* Does it have the lease that it needs? */
static tb_rc check_lease(struct putting *p, tb_err *err)
{
	const tb_group_state *group = p->put.group;
	const tb_stream *stream = p->put.stream;
	if (group->row == NULL || group->row->lease == TB_LEASE_FRAME)
		return TB_OK;
	if (group->row->lease == TB_LEASE_GROUP)
		return holds(p, group->generation, group->member) ? TB_OK : fenced(p, "the group", "", group->generation, err);
	if (stream == NULL)
		return tb_fail(err, TB_EINVAL, "a put of a %s says of no stream that is known under whose lease it is done",
		               group_name(group));
	return holds(p, stream->generation, stream->member) ? TB_OK
	                                                    : fenced(p, "stream ", stream->name, stream->generation, err);
}

static tb_open *find_open(const struct putting *p, uint64_t id)
{
	tb_opens *opens = tb_group_opens(p->put.group, p->put.stream);
	if (id & TB_VOLATILE_ID)
		return tb_volatile_find(p->put.group, id);
	return opens != NULL ? tb_opens_find(opens, id) : NULL;
}

static tb_rc check_finished(tb_broker *broker, struct putting *p, tb_err *err)
{
	const Tb__PutRequest *request = p->put.request;
	uint64_t next = tb_journal_next(broker->journal) + broker->batch.size;
	if (request->n_finished > 0 && p->put.group->row == NULL)
		return tb_fail(err, TB_EINVAL, "only a worker of a group finishes frames");
	if (request->n_finished > FINISHED_MAX)
		return tb_fail(err, TB_EINVAL, "a put finishes %u frames at most, not %zu", FINISHED_MAX, request->n_finished);
	p->finished = tb_arena_alloc(p->put.arena, request->n_finished * sizeof(*p->finished));
	for (size_t i = 0; i < request->n_finished; i++) {
		uint64_t id = request->finished[i];
		if (!(id & TB_VOLATILE_ID) && id >= next)
			return tb_fail(err, TB_EINVAL, "frame %llu can't be finished: the journal has only come to %llu",
			               (unsigned long long)id, (unsigned long long)next);
		if (find_open(p, id) != NULL)
			p->finished[p->finished_count++] = id;
	}
	return TB_OK;
}

static tb_rc check_range(const struct putting *p, tb_err *err)
{
	uint64_t to = p->put.request->finished_to;
	const tb_stream *stream = p->put.stream;
	if (to == 0)
		return TB_OK;
	if (stream == NULL || p->put.group->row == NULL || p->put.group->row->lease != TB_LEASE_STREAM)
		return tb_fail(err, TB_EINVAL, "events are finished by who leases their stream");
	if (to > stream->durable)
		return tb_fail(err, TB_EINVAL, "events of stream %s can't be finished to %llu: it is durable to %llu", stream->name,
		               (unsigned long long)to, (unsigned long long)stream->durable);
	return TB_OK;
}

static void count_frame(struct putting *p, size_t i)
{
	const tb_kind_row *row = tb_kind_find(p->frames[i].kind);
	int durable = row->keep == TB_KEEP_DURABLE, loose = row->keep == TB_KEEP_VOLATILE;
	p->work |= durable || loose;
	if (!p->verdicts[i].keep)
		return;
	p->fresh |= durable || loose;
	p->size += durable ? p->bytes[i].size : 0;
	p->loose += loose ? p->bytes[i].size : 0;
	p->open += row->groups != 0;
	/* What is cut can be sealed, and what is named can be stored: without them nothing more is ever finished. */
	p->makes_room |= p->frames[i].kind == TB_KIND_CUT || p->frames[i].kind == TB_KIND_MANIFEST;
}

static tb_rc check_frames(tb_broker *broker, struct putting *p, tb_err *err)
{
	p->put.serial = ++broker->serial; /* what checks note at streams is of this put alone */
	for (size_t i = 0; i < p->count; i++) {
		p->verdicts[i] = (tb_verdict){ .keep = 1 };
		tb_rc rc = tb_check_find(p->frames[i].kind)->check(broker, &p->put, &p->frames[i], &p->verdicts[i], err);
		if (rc != TB_OK)
			return rc;
		count_frame(p, i);
	}
	const tb_stream *stream = p->put.stream;
	p->finishes = p->finished_count > 0 || (stream != NULL && p->put.request->finished_to > stream->stored);
	p->work |= p->put.request->n_finished > 0 || p->put.request->finished_to > 0;
	p->fresh |= p->finishes;
	p->makes_room |= p->finishes;
	return TB_OK;
}

static int groups_full(const tb_broker *broker, size_t more)
{
	for (unsigned i = 1; i < TB_GROUP_COUNT; i++)
		if (broker->groups[i].open_count + more > TB_OPEN_MAX)
			return 1;
	return 0;
}

static tb_rc check_room(const tb_broker *broker, const struct putting *p, tb_err *err)
{
	size_t finish = p->finishes ? TB_FRAME_HEAD + 64 + 10 * p->finished_count : 0;
	if (p->loose > 0 && (broker->volatile_bytes + p->loose > broker->options.volatile_max ||
	                     broker->groups[TB_GROUP_SEALER].loose.count >= TB_VOLATILE_MAX)) {
		tb_fail(err, TB_EFULL, "the broker holds %llu bytes of chunks already, and takes no more",
		        (unsigned long long)broker->volatile_bytes);
		tb_hint(err, "put it again in a while; more sealers make it faster");
		return TB_EFULL;
	}
	if (p->open > 0 && groups_full(broker, p->open)) {
		tb_fail(err, TB_EFULL, "%u frames wait for a group of workers already", TB_OPEN_MAX);
		tb_hint(err, "see which workers are missing: tb status");
		return TB_EFULL;
	}
	return p->size + finish > 0 ? tb_room_for_put(broker, p->size + finish, p->makes_room, err) : TB_OK;
}

static void gather_finish(tb_broker *broker, struct putting *p)
{
	Tb__Finish finish = TB__FINISH__INIT;
	finish.group = p->put.request->group;
	finish.stream = p->put.stream != NULL ? p->put.stream->hash : 0;
	if (p->put.stream != NULL && p->put.request->finished_to > p->put.stream->stored)
		finish.to = p->put.request->finished_to;
	finish.frames = tb_arena_alloc(p->put.arena, p->finished_count * sizeof(*finish.frames));
	for (size_t i = 0; i < p->finished_count; i++) {
		tb_open *loose = tb_volatile_find(p->put.group, p->finished[i]);
		if (loose != NULL)
			tb_volatile_remove(broker, p->put.group, loose);
		else if (!(p->finished[i] & TB_VOLATILE_ID))
			finish.frames[finish.n_frames++] = p->finished[i];
	}
	if (finish.n_frames > 0 || finish.to > 0)
		tb_gather_message(broker, TB_KIND_FINISH, &finish.base);
}

static void keep_frames(tb_broker *broker, struct putting *p)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->verdicts[i].keep)
			tb_check_find(p->frames[i].kind)->keep(broker, &p->put, &p->frames[i], p->bytes[i], &p->verdicts[i]);
	gather_finish(broker, p);
}

static tb_rc decide(tb_broker *broker, struct putting *p, tb_asking *ask, tb_err *err)
{
	int leased = 0;
	tb_rc rc = check_kinds(p, &leased, err);
	if (rc == TB_OK && leased)
		rc = check_lease(p, err);
	if (rc == TB_OK)
		rc = check_finished(broker, p, err);
	if (rc == TB_OK)
		rc = check_range(p, err);
	if (rc != TB_OK)
		return rc;
	if (p->put.request->n_finished > 0 && p->finished_count == 0) {
		ask->repeated = 1;
		return TB_OK;
	}
	rc = check_frames(broker, p, err);
	if (rc == TB_OK)
		rc = check_room(broker, p, err);
	if (rc != TB_OK)
		return rc;
	ask->repeated = p->work && !p->fresh;
	keep_frames(broker, p);
	return TB_OK;
}

tb_rc tb_put_decide(tb_broker *broker, tb_asking *ask, tb_span frames, tb_err *err)
{
	const Tb__PutRequest *request = (const Tb__PutRequest *)ask->request;
	struct putting p = { .put = { .request = request, .arena = ask->arena } };
	tb_rc rc = tb_ask_journal(broker, request->journal_id, err);
	if (rc == TB_OK)
		rc = tb_ask_member(broker, request->group, request->member, &p.put.group, &p.put.member, err);
	if (rc == TB_OK)
		rc = read_frames(&p, frames, err);
	if (rc != TB_OK)
		return rc;
	p.put.stream = tb_stream_find(broker, request->stream);
	if (request->stream != 0 && p.put.stream == NULL)
		return tb_fail(err, TB_ENOTFOUND, "there is no stream %016llx", (unsigned long long)request->stream);
	return decide(broker, &p, ask, err);
}

int tb_put_tell(tb_broker *broker, tb_asking *ask, int final)
{
	Tb__PutReply reply = TB__PUT_REPLY__INIT;
	Tb__Status status;
	(void)final;
	tb_ask_status(ask, &status);
	reply.status = &status;
	reply.journal_id = tb_journal_name(broker);
	reply.run_id = tb_run_name(broker);
	reply.repeated_put = ask->repeated;
	tb_ask_answer(broker, ask, &reply.base, (tb_span){ 0 });
	return 1;
}

#include "broker/broker_state.h"

static const char *const causes[TB_REFUSALS] = {
	[TB_REFUSED_FRAME] = "no frames",
	[TB_REFUSED_KIND] = "wrong kinds",
	[TB_REFUSED_EVENTS] = "no events",
	[TB_REFUSED_SENSELESS] = "senseless requests",
	[TB_REFUSED_STREAM] = "unknown streams",
	[TB_REFUSED_EPOCH] = "other epochs",
	[TB_REFUSED_NUMBER] = "other numbers",
	[TB_REFUSED_FENCED] = "fenced requests",
	[TB_REFUSED_HOST] = "unknown hosts",
	[TB_REFUSED_REQUEST] = "refused requests",
};

static void fill_refusals(tb_broker *broker, Tb__StatReply *reply)
{
	reply->refusals = tb_arena_alloc(broker->turn, TB_REFUSALS * sizeof(*reply->refusals));
	for (size_t i = 0; i < TB_REFUSALS; i++) {
		if (i <= TB_REFUSED_SENSELESS)
			reply->counters_refused += broker->refused[i];
		if (broker->refused[i] == 0)
			continue;
		Tb__Refusal *refusal = tb_arena_alloc(broker->turn, sizeof(*refusal));
		tb__refusal__init(refusal);
		refusal->cause = (char *)(uintptr_t)causes[i];
		refusal->count = broker->refused[i];
		reply->refusals[reply->n_refusals++] = refusal;
	}
}

static Tb__StreamStat *stream_stat(tb_broker *broker, const tb_stream *stream)
{
	Tb__StreamStat *stat = tb_arena_alloc(broker->turn, sizeof(*stat));
	tb__stream_stat__init(stat);
	stat->name = stream->name;
	stat->epoch = stream->epoch;
	stat->accepted = stream->accepted > stream->durable ? stream->accepted : stream->durable;
	stat->durable = stream->durable;
	stat->stored = stream->stored;
	stat->cut = stream->cut;
	stat->chain = stream->chain;
	stat->connected = stream->window;
	stat->first_held = tb_first_held(broker, stream);
	stat->durable_stamp_ns = stream->durable_stamp_ns;
	if (stream->order != 0)
		stat->backup_running = (char *)(uintptr_t)stream->last_order;
	return stat;
}

static Tb__GroupStat *group_stat(tb_broker *broker, unsigned number)
{
	const tb_group_state *group = &broker->groups[number];
	Tb__GroupStat *stat = tb_arena_alloc(broker->turn, sizeof(*stat));
	tb__group_stat__init(stat);
	stat->group = number;
	stat->open = group->open_count;
	stat->members = (uint32_t)tb_members_live(group, tb_broker_mono(broker), broker->options.lease_ns);
	stat->volatile_frames = group->loose.count;
	stat->rejected = group->rejected;
	if (group->row->lease == TB_LEASE_FRAME)
		for (const tb_open *open = NULL; (open = tb_opens_next(&group->open, open)) != NULL;)
			stat->tired += open->attempts >= TB_ATTEMPTS_MAX;
	return stat;
}

static void fill_health(tb_broker *broker, Tb__StatReply *reply)
{
	reply->health = tb_arena_alloc(broker->turn, TB_MEMBERS_MAX * sizeof(*reply->health));
	for (unsigned i = 0; i < TB_GROUP_COUNT; i++) {
		const tb_group_state *group = &broker->groups[i];
		for (size_t m = 0; m < group->member_count; m++) {
			const tb_buf *health = &group->members[m].health;
			if (health->size > 0)
				reply->health[reply->n_health++] = tb_binary(health->data, health->size);
		}
	}
}

static void fill(tb_broker *broker, Tb__StatReply *reply)
{
	reply->started_ns = broker->started_ns;
	reply->now_ns = tb_real_ns(broker->options.clock);
	reply->journal_bytes = tb_journal_bytes(broker->journal);
	reply->journal_limit = broker->options.journal_limit;
	reply->streams_max = broker->options.streams_max;
	fill_refusals(broker, reply);
	if (broker->no_room)
		reply->held_up = broker->stuck.rc != TB_OK ? broker->stuck.text : (char *)(uintptr_t) "the journal is nearly full";
	reply->streams = tb_arena_alloc(broker->turn, broker->stream_count * sizeof(*reply->streams));
	for (uint32_t i = 0; i < broker->stream_count; i++)
		reply->streams[reply->n_streams++] = stream_stat(broker, broker->streams[i]);
	reply->groups = tb_arena_alloc(broker->turn, TB_GROUP_COUNT * sizeof(*reply->groups));
	for (unsigned i = 1; i < TB_GROUP_COUNT; i++)
		reply->groups[reply->n_groups++] = group_stat(broker, i);
	fill_health(broker, reply);
}

tb_rc tb_stat_decide(tb_broker *broker, tb_asking *ask, tb_span frames, tb_err *err)
{
	(void)broker, (void)ask, (void)frames, (void)err;
	return TB_OK;
}

int tb_stat_tell(tb_broker *broker, tb_asking *ask, int final)
{
	Tb__StatReply reply = TB__STAT_REPLY__INIT;
	Tb__Status status;
	(void)final;
	tb_ask_status(ask, &status);
	reply.status = &status;
	reply.journal_id = tb_journal_name(broker);
	reply.run_id = tb_run_name(broker);
	fill(broker, &reply);
	tb_ask_answer(broker, ask, &reply.base, (tb_span){ 0 });
	return 1;
}

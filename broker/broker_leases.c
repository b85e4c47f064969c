/* Who holds what: granting streams and groups, giving back what was lost or lapsed, and rejecting what kills. */
#include "broker/broker_state.h"

#include "base/planted.h"
#define FRAME_LEASES 6u   /* a frame is held for so many lease times at most, also by a member that lives */
#define MEMBER_LEASES 60u /* a member silent for so many is forgotten */
#define LEASE_ROOM 192u   /* in the journal, for one */
#define REJECTED_AT_ONCE (16u << 20)

static const Tb__TakeRequest *request_of(const tb_asking *ask)
{
	return (const Tb__TakeRequest *)ask->request;
}

static tb_group_state *group_of(tb_broker *broker, const tb_asking *ask)
{
	return &broker->groups[request_of(ask)->group];
}

static int live(const tb_broker *broker, const tb_group_state *group, const uint8_t *member)
{
	return tb_member_live(group, member, tb_broker_mono(broker), broker->options.lease_ns);
}

/* ---- granting */

static void gather_lease(tb_broker *broker, unsigned group, uint64_t stream, uint64_t generation, const uint8_t *member)
{
	Tb__Lease lease = TB__LEASE__INIT;
	lease.group = group;
	lease.stream = stream;
	lease.generation = generation;
	lease.member = tb_binary(member, TB_MEMBER_ID);
	tb_gather_message(broker, TB_KIND_LEASE, &lease.base);
}

void tb_lease_note_held(tb_broker *broker, tb_asking *ask)
{
	const Tb__TakeRequest *request = request_of(ask);
	ask->serial = ++broker->serial;
	for (size_t i = 0; i < request->n_held; i++) {
		tb_stream *stream = tb_stream_find(broker, request->held[i]->stream);
		if (stream == NULL)
			continue;
		stream->ask = ask->serial;
		stream->ask_generation = request->held[i]->generation;
		stream->ask_next = request->held[i]->next;
	}
}

/* Streams that nobody holds go to who asks, up to its share; one that it holds and doesn't know of, because it started
 * anew, gets a new generation, once a request. */
static void lease_streams(tb_broker *broker, tb_asking *ask, int first)
{
	const Tb__TakeRequest *request = request_of(ask);
	tb_group_state *group = group_of(broker, ask);
	size_t members = tb_members_live(group, tb_broker_mono(broker), broker->options.lease_ns);
	size_t share = (broker->stream_count + members - 1) / (members ? members : 1), mine = 0;
	for (uint32_t i = 0; i < broker->stream_count; i++)
		mine += (size_t)tb_stream_held_by(broker->streams[i], request->member.data);
	tb_lease_note_held(broker, ask);
	for (uint32_t i = 0; i < broker->stream_count; i++) {
		tb_stream *stream = broker->streams[i];
		if (tb_stream_held_by(stream, request->member.data)) {
			if (!first || stream->ask == ask->serial)
				continue;
		} else if (mine >= share || (stream->generation != 0 && live(broker, group, stream->member))) {
			continue;
		} else {
			mine++;
		}
		gather_lease(broker, request->group, stream->hash, stream->generation + 1, request->member.data);
	}
}

static void lease_group(tb_broker *broker, tb_asking *ask, int first)
{
	const Tb__TakeRequest *request = request_of(ask);
	tb_group_state *group = group_of(broker, ask);
	if (group->generation != 0 && tb_member_same(group->member, request->member.data)) {
		if (!first || request->generation == group->generation)
			return;
	} else if (group->generation != 0 && live(broker, group, group->member)) {
		return;
	}
	gather_lease(broker, request->group, 0, group->generation + 1, request->member.data);
}

void tb_lease_grant(tb_broker *broker, tb_asking *ask, int first)
{
	if (request_of(ask)->nothing || tb_room_for_put(broker, LEASE_ROOM, 1, NULL) != TB_OK)
		return;
	switch (group_of(broker, ask)->row->lease) {
	case TB_LEASE_STREAM:
		lease_streams(broker, ask, first);
		break;
	case TB_LEASE_GROUP:
		lease_group(broker, ask, first);
		break;
	case TB_LEASE_FRAME:
		break;
	}
}

/* ---- answers that were lost */

/* A member that started anew may have died of the frame, so that attempt counts; an answer that was lost doesn't. */
static void release_opens(tb_opens *opens, const uint8_t *member, uint64_t turn)
{
	for (tb_open *open = NULL; (open = tb_opens_next(opens, open)) != NULL;) {
		if (open->turn <= turn || !tb_member_same(open->member, member))
			continue;
		if (turn != 0 && open->attempts > 0)
			open->attempts--;
		open->leased = 0;
		open->generation = 0;
		open->turn = 0;
	}
}

void tb_lease_release_lost(tb_broker *broker, tb_group_state *group, tb_member *member, uint64_t turn)
{
	if (turn >= member->turn || TB_PLANTED(13))
		return;
	release_opens(&group->open, member->id, turn);
	release_opens(&group->loose, member->id, turn);
	if (group->row->lease == TB_LEASE_GROUP && tb_member_same(group->member, member->id))
		group->handed_to = group->handed_before;
	if (group->row->lease != TB_LEASE_STREAM)
		return;
	for (uint32_t i = 0; i < broker->stream_count; i++)
		if (tb_stream_held_by(broker->streams[i], member->id))
			release_opens(&broker->streams[i]->open, member->id, turn);
}

/* ---- time */

/* To the rejects, whole, so that an operator can see what it was. */
static void reject(tb_broker *broker, tb_group_state *group, tb_open *open)
{
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	if (open->bytes.size > 0)
		tb_buf_append_span(&bytes, open->bytes);
	else
		tb_journal_read(broker->journal, open->id, &bytes, NULL); /* what can't be read is rejected without it */
	if (bytes.size > TB_FRAME_BODY_MAX)
		bytes.size = TB_FRAME_HEAD;
	tb_frame frame = { .kind = TB_KIND_REJECT, .flags = (uint16_t)group->row->number, .count = 1, .stream = open->stream,
		           .body = tb_buf_span(&bytes) };
	uint64_t id = open->id;
	if (id & TB_VOLATILE_ID)
		tb_volatile_remove(broker, group, open);
	tb_gather(broker, &frame, (tb_span){ 0 });
	Tb__Finish finish = TB__FINISH__INIT;
	finish.group = group->row->number;
	finish.frames = &id;
	finish.n_frames = 1;
	if (!(id & TB_VOLATILE_ID))
		tb_gather_message(broker, TB_KIND_FINISH, &finish.base);
}

static void reject_tired_of(tb_broker *broker, tb_group_state *group, tb_opens *opens)
{
	tb_open *open = tb_opens_next(opens, NULL);
	while (open != NULL && broker->stuck.rc == TB_OK && broker->batch.size < REJECTED_AT_ONCE) {
		uint64_t id = open->id;
		if (!open->leased && open->attempts >= TB_ATTEMPTS_MAX && !tb_stays_open(open))
			reject(broker, group, open);
		open = tb_opens_from(opens, id + 1);
	}
}

void tb_leases_reject(tb_broker *broker, unsigned number)
{
	tb_group_state *group = &broker->groups[number];
	if (group->row->lease != TB_LEASE_FRAME)
		return;
	reject_tired_of(broker, group, &group->open);
	reject_tired_of(broker, group, &group->loose);
}

static void lapse(tb_broker *broker, const tb_group_state *group, tb_opens *opens)
{
	uint64_t now = tb_broker_mono(broker);
	for (tb_open *open = NULL; (open = tb_opens_next(opens, open)) != NULL;) {
		if (!open->leased || TB_PLANTED(4))
			continue;
		if (live(broker, group, open->member) && now - open->since_ns < FRAME_LEASES * broker->options.lease_ns)
			continue;
		open->leased = 0;
		open->turn = 0;
		broker->changed = 1;
	}
}

static void check_members(tb_broker *broker, tb_group_state *group)
{
	uint64_t now = tb_broker_mono(broker), lease_ns = broker->options.lease_ns;
	for (size_t i = group->member_count; i-- > 0;) {
		tb_member *member = &group->members[i];
		if (now - member->seen_ns < lease_ns)
			continue;
		if (!member->silent)
			broker->changed = 1; /* who waits for its leases may have them */
		member->silent = 1;
		if (now - member->seen_ns >= MEMBER_LEASES * lease_ns)
			tb_member_remove(group, i);
	}
}

void tb_leases_check(tb_broker *broker)
{
	for (unsigned i = 0; i < TB_GROUP_COUNT; i++) {
		tb_group_state *group = &broker->groups[i];
		check_members(broker, group);
		if (group->row == NULL || group->row->lease != TB_LEASE_FRAME)
			continue;
		lapse(broker, group, &group->open);
		lapse(broker, group, &group->loose);
		tb_leases_reject(broker, i);
	}
}

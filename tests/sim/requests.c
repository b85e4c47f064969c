/* Requests on their way: what has to hold of each, and what may happen to it. */
#include "sim.h"

static uint64_t *generation_of(uint32_t group, uint64_t stream)
{
	if (group != TB_GROUP_COLLECTOR)
		return &sim.group_generation[group];
	for (size_t i = 0; i < sim.engine_count; i++)
		if (sim.engines[i].hash == stream)
			return &sim.stream_generation[i];
	return &sim.stream_generation[SIM_ENGINES];
}

static void see_take(const Tb__TakeRequest *request, const Tb__TakeReply *reply)
{
	if (reply->status->code != TB_OK)
		return;
	uint64_t *group = generation_of(request->group, 0);
	if (reply->generation > *group)
		*group = reply->generation;
	for (size_t i = 0; i < reply->n_grants; i++) {
		uint64_t *stream = generation_of(TB_GROUP_COLLECTOR, reply->grants[i]->stream);
		if (reply->grants[i]->generation > *stream)
			*stream = reply->grants[i]->generation;
	}
	for (size_t i = 0; request->group == TB_GROUP_SEALER && i < reply->n_leased; i++)
		for (size_t w = 0; w < SIM_WORKERS; w++)
			if (memcmp(sim.workers[w].env.member, request->member.data, TB_MEMBER) == 0 &&
			    reply->leased[i]->attempts >= 3)
				sim.workers[w].spared = 1;
}

/* What only tells needs no lease. */
static int needs_lease(const Tb__PutRequest *request, tb_span frames)
{
	tb_frame frame;
	int needs = request->n_finished > 0 || request->finished_to > 0;
	while (frames.size > 0 && tb_frame_read(&frames, &frame, NULL) == TB_OK)
		needs |= frame.kind != TB_KIND_HEALTH && frame.kind != TB_KIND_ANNOUNCE;
	return needs;
}

static void see_put(const Tb__PutRequest *request, tb_span frames, const Tb__PutReply *reply)
{
	if (request->generation == 0 || reply->status->code != TB_OK || !needs_lease(request, frames))
		return;
	uint64_t newest = *generation_of(request->group, request->stream);
	if (request->generation < newest)
		sim_fail("a put of group %u under generation %llu was taken, though %llu had been granted", request->group,
		         (unsigned long long)request->generation, (unsigned long long)newest);
}

static void *read_message(tb_span bytes, enum tb_kind kind, const ProtobufCMessageDescriptor *descriptor)
{
	ProtobufCMessage *message;
	tb_err err = { 0 };
	if (tb_control_read(&bytes, kind, descriptor, sim.arena, &message, &err) == TB_OK)
		return message;
	sim_fail("a request or answer can't be read: %s", err.text);
	return NULL;
}

static void *read_answer(tb_span answer, const ProtobufCMessageDescriptor *descriptor)
{
	return read_message(answer, TB_KIND_ANSWER, descriptor);
}

static tb_span frames_behind(tb_span request)
{
	tb_frame control;
	return tb_frame_read(&request, &control, NULL) == TB_OK ? request : (tb_span){ 0 };
}

static void see_pair(tb_span request, tb_span answer)
{
	tb_frame head;
	if (tb_frame_read_head(request, &head, NULL) != TB_OK)
		return;
	if (head.kind == TB_KIND_TAKE) {
		const Tb__TakeRequest *take = read_message(request, TB_KIND_TAKE, &tb__take_request__descriptor);
		const Tb__TakeReply *reply = read_answer(answer, &tb__take_reply__descriptor);
		if (take != NULL && reply != NULL)
			see_take(take, reply);
	} else if (head.kind == TB_KIND_PUT) {
		const Tb__PutRequest *put = read_message(request, TB_KIND_PUT, &tb__put_request__descriptor);
		const Tb__PutReply *reply = read_answer(answer, &tb__put_reply__descriptor);
		if (put != NULL && reply != NULL)
			see_put(put, frames_behind(request), reply);
	}
}

/* Nobody waits here: a take is answered with what there is. */
static tb_span without_waiting(tb_span request, tb_buf *bytes)
{
	tb_frame head;
	if (tb_frame_read_head(request, &head, NULL) != TB_OK || head.kind != TB_KIND_TAKE)
		return request;
	Tb__TakeRequest *take = read_message(request, TB_KIND_TAKE, &tb__take_request__descriptor);
	if (take == NULL || take->wait_ms == 0)
		return request;
	take->wait_ms = 0;
	tb_control_write(bytes, TB_KIND_TAKE, &take->base);
	return tb_buf_span(bytes);
}

tb_span sim_without_object(tb_span request, tb_buf *bytes)
{
	tb_span rest = request;
	tb_frame frame;
	int objects = 0;
	if (tb_frame_read(&rest, &frame, NULL) != TB_OK || frame.kind != TB_KIND_PUT)
		return request;
	tb_buf_append(bytes, request.data, request.size - rest.size);
	while (rest.size > 0 && tb_frame_read(&rest, &frame, NULL) == TB_OK) {
		objects += frame.kind == TB_KIND_OBJECT;
		if (frame.kind != TB_KIND_OBJECT)
			tb_frame_write(bytes, &frame);
	}
	if (objects == 0)
		return request;
	sim.lies = 0;
	sim.lied = 1;
	sim_say("a sealer puts no object with what it says of it");
	return tb_buf_span(bytes);
}

int sim_arrive(tb_span given, tb_buf *ret_answer)
{
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	tb_span request = without_waiting(given, &bytes);
	if (!host_request(request, ret_answer))
		return 0;
	see_pair(request, tb_buf_span(ret_answer));
	return 1;
}

static int lost(uint32_t rate)
{
	int strikes = sim_strikes(rate);
	sim.counts[SIM_LOST] += (uint64_t)strikes;
	return strikes;
}

tb_rc sim_ask(tb_span request, tb_buf *ret_answer, tb_err *err)
{
	if (lost(sim.rates.request_lost))
		return tb_fail(err, TB_ETIMEOUT, "the request was lost");
	if (sim.broker == NULL)
		return tb_fail(err, sim_below(2) ? TB_ETIMEOUT : TB_EUNREACHABLE, "the broker is away");
	if (!sim_arrive(request, ret_answer))
		return tb_fail(err, TB_ETIMEOUT, "the broker died of it");
	if (sim_strikes(sim.rates.request_repeated) && !sim_arrive(request, ret_answer))
		return tb_fail(err, TB_ETIMEOUT, "the broker died of it");
	if (lost(sim.rates.answer_lost))
		return tb_fail(err, TB_ETIMEOUT, "the answer was lost");
	return TB_OK;
}

tb_rc sim_bus_request(tb_bus *bus, tb_span request, uint64_t timeout_ns, tb_buf *ret_answer, tb_err *err)
{
	(void)bus, (void)timeout_ns;
	return sim_ask(request, ret_answer, err);
}

/* What a publisher needs of a broker, in a page: it accepts the next number only and tells what is durable. */
#ifndef TESTS_MODEL_BROKER_H
#define TESTS_MODEL_BROKER_H

#include "bus/bus.h"
#include "frames.pb-c.h"

typedef struct model_broker {
	uint8_t run_id[16];
	uint64_t epoch, durable, stored;
	uint32_t window_frames;
	uint64_t window_bytes;
	uint64_t stored_behind; /* stored follows durable at this distance */
	uint64_t first, place; /* of the present epoch: the outbox's event at that place has that number */
	uint64_t elsewhere;    /* so many of the durable ones behind that are not the outbox's */
	void *self;
	void (*accepted)(void *self, uint64_t number, tb_span event);
} model_broker;

static inline void model_restart(model_broker *model)
{
	model->run_id[0]++;
}

static inline void model_told(const model_broker *model, int again, int hello, tb_buf *ret_told)
{
	Tb__Durable told = TB__DURABLE__INIT;
	told.run_id = (ProtobufCBinaryData){ 16, (uint8_t *)model->run_id };
	told.epoch = model->epoch;
	told.durable = model->durable;
	told.stored = model->stored;
	told.again = again;
	told.hello = hello;
	tb_buf_clear(ret_told);
	tb_control_write(ret_told, TB_KIND_TOLD, &told.base);
}

static inline void model_hello(model_broker *model, const Tb__HelloRequest *request, Tb__HelloReply *ret_reply)
{
	tb__hello_reply__init(ret_reply);
	ret_reply->journal_id = (ProtobufCBinaryData){ 16, (uint8_t *)(uintptr_t)"the one journal." };
	ret_reply->run_id = (ProtobufCBinaryData){ 16, model->run_id };
	if (model->window_frames == 0)
		return; /* without room it says nothing else */
	if (request->take_over || request->epoch != model->epoch) {
		uint64_t come = model->place == 0 ? 0 : model->place + model->durable - model->elsewhere - model->first;
		model->epoch++;
		model->first = model->durable + 1;
		model->place = (come < request->ground ? come : request->ground) + 1;
		model->elsewhere = 0;
		ret_reply->renewed = come > request->ground;
	}
	ret_reply->first = model->first;
	ret_reply->place = model->place;
	ret_reply->epoch = model->epoch;
	ret_reply->durable = model->durable;
	ret_reply->stored = model->stored;
	ret_reply->window_frames = model->window_frames;
	ret_reply->window_bytes = model->window_bytes;
}

static inline void model_accept(model_broker *model, const tb_frame *frame)
{
	tb_span body = frame->body, event;
	while (tb_events_next(&body, &event) == 1)
		model->accepted(model->self, ++model->durable, event);
	if (model->durable > model->stored_behind && model->durable - model->stored_behind > model->stored)
		model->stored = model->durable - model->stored_behind;
}

/* A frame has come; what is told then. 0 when it is not a frame at all. */
static inline int model_event(model_broker *model, tb_span bytes, tb_buf *ret_told)
{
	tb_frame frame;
	if (tb_frame_read(&bytes, &frame, NULL) != TB_OK)
		return 0;
	int known = frame.epoch == model->epoch;
	int again = 0;
	if (known && frame.kind == TB_KIND_HEARTBEAT)
		again = frame.first > model->durable;
	else if (known && frame.first != model->durable + 1)
		again = frame.first + frame.count - 1 > model->durable;
	else if (known)
		model_accept(model, &frame);
	model_told(model, again, !known, ret_told);
	return 1;
}

#endif

/* Engines: what they accept is noted, so that in the end it can be asked for. */
#include "sim.h"

#include "base/bytes.h"
#include "wire/event.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define OUTBOX_SIZE (UINT64_C(64) * 1024)
#define OUTBOX_LARGE (UINT64_C(8) << 20)
#define FRAMES_A_TURN 6

static void open_engine(struct sim_engine *engine)
{
	tb_err err = { 0 };
	uint64_t size = engine->value_max > 4096 ? OUTBOX_LARGE : OUTBOX_SIZE;
	if (tb_outbox_open(engine->path, engine->name, size, engine->boot_id, &engine->outbox, &engine->opened, &err) != TB_OK) {
		sim_fail("the outbox of %s doesn't open: %s", engine->name, err.text);
		return;
	}
	if (engine->opened.made)
		outbox_synced(engine);
	if (engine->opened.last != engine->count && !engine->struck)
		sim_fail("the outbox of %s holds events up to %llu, but %llu were accepted", engine->name,
		         (unsigned long long)engine->opened.last, (unsigned long long)engine->count);
	engine->pump = tb_pump_new(engine->name, engine->outbox, &engine->opened, &sim.clock);
	engine->pump_durable = engine->opened.durable;
	engine->openings++;
	engine->synced = 0;
}

static void close_engine(struct sim_engine *engine)
{
	tb_pump_free(engine->pump);
	tb_outbox_close(engine->outbox);
	engine->pump = NULL;
	engine->outbox = NULL;
}

void engine_begin(struct sim_engine *engine, size_t index)
{
	static const uint32_t values[] = { 8, 40, 200, 200, 1500 };
	*engine = (struct sim_engine){ .bus = { .request = sim_bus_request } };
	snprintf(engine->name, sizeof(engine->name), "engine-%zu", index);
	snprintf(engine->path, sizeof(engine->path), "%s/%s.outbox", sim.dir, engine->name);
	engine->hash = tb_stream_hash(engine->name);
	engine->value_max = values[sim_below(5)];
	engine->quota = sim.step_max;
	if (index == 0 && sim_below(12) == 0 && !sim.values_small && !sim.recorded) { /* a state of several chunks */
		engine->value_max = 150000 + (uint32_t)sim_below(150000);
		engine->quota = 20 + sim_below(60);
	}
	open_engine(engine);
}

void engine_end(struct sim_engine *engine)
{
	close_engine(engine);
	free(engine->events);
	free(engine->ops);
	free(engine->order);
}

/* ---- publishing */

static struct sim_op *add_op(struct sim_engine *engine)
{
	if (engine->op_count == engine->op_room) {
		engine->op_room = engine->op_room ? engine->op_room * 2 : 256;
		engine->ops = tb_realloc(engine->ops, engine->op_room * sizeof(*engine->ops));
	}
	struct sim_op *op = &engine->ops[engine->op_count++];
	op->key = (uint16_t)sim_below(SIM_KEYS);
	op->remove = sim_below(4) == 0;
	op->value_seed = (uint32_t)sim_any();
	op->value_size = op->remove ? 0 : (uint32_t)sim_below(engine->value_max);
	if (engine->value_max > 4096 && !op->remove)
		op->value_size = engine->value_max - op->value_size / 8;
	return op;
}

static tb_delta delta_of(const struct sim_op *op)
{
	char *key = tb_arena_alloc(sim.arena, 16);
	uint8_t *value = tb_arena_alloc(sim.arena, op->value_size + 8);
	model_key(op->key, key);
	sim_fill(op->value_seed, value, op->value_size);
	return (tb_delta){ .key = { key, strlen(key) }, .remove = op->remove, .value = { value, op->value_size } };
}

static enum sim_kind choose(struct sim_engine *engine, tb_event *event)
{
	static const char *const pairs[] = { "BTC→ETH", "ETH→XRP" };
	uint64_t chance = sim_below(100);
	if (chance < 70) {
		tb_event_default(event, TB_EVENT_DELTA);
		event->body.delta = delta_of(add_op(engine));
		return SIM_DELTA;
	}
	if (chance < 80) {
		size_t count = 1 + sim_below(4);
		tb_delta *items = tb_arena_alloc(sim.arena, count * sizeof(*items));
		for (size_t i = 0; i < count; i++)
			items[i] = delta_of(add_op(engine));
		tb_event_default(event, TB_EVENT_DELTAS);
		event->body.deltas.items = items;
		event->body.deltas.count = count;
		return SIM_DELTA;
	}
	if (chance < 83) {
		tb_event_default(event, TB_EVENT_RESET);
		event->body.reset.commit = chance < 82;
		return event->body.reset.commit ? SIM_COMMIT : SIM_BEGIN;
	}
	tb_event_default(event, TB_EVENT_GHOST);
	event->body.ghost.event_type = "ghost_trigger";
	event->body.ghost.trigger = "sim";
	event->body.ghost.pair = pairs[chance & 1];
	event->body.ghost.bit_phase = 8;
	return SIM_OTHER;
}

static void note_event(struct sim_engine *engine, tb_span canonical, enum sim_kind kind, uint64_t op_first)
{
	if (engine->count == engine->room) {
		engine->room = engine->room ? engine->room * 2 : 256;
		engine->events = tb_realloc(engine->events, engine->room * sizeof(*engine->events));
	}
	engine->events[engine->count++] = (struct sim_event){
		.check = tb_check64(canonical.data, canonical.size), .op_first = op_first,
		.op_count = (uint32_t)(engine->op_count - op_first), .kind = kind, .opening = engine->openings,
	};
	sim.counts[SIM_EVENTS]++;
}

static tb_reset_step step_of(enum sim_kind kind)
{
	if (kind == SIM_BEGIN)
		return TB_RESET_BEGIN;
	return kind == SIM_COMMIT ? TB_RESET_COMMIT : TB_RESET_NONE;
}

/* 0: the outbox took nothing. */
static int publish_one(struct sim_engine *engine)
{
	tb_auto(tb_buf_drop) tb_buf canonical = { 0 };
	tb_event event;
	tb_err err = { 0 };
	uint8_t *payload;
	uint64_t op_first = engine->op_count;
	enum sim_kind kind = choose(engine, &event);
	event.mode = "live";
	char *source = tb_arena_alloc(sim.arena, 24); /* so that no two events are the same */
	snprintf(source, 24, "sim %llu", (unsigned long long)engine->count);
	event.source = source;
	tb_rc rc = tb_event_pack(&canonical, &event, sim.real_ns, NULL, &err);
	if (rc == TB_OK)
		rc = tb_outbox_reserve(engine->outbox, canonical.size, &payload, &err);
	if (rc != TB_OK) {
		engine->op_count = op_first;
		if (rc != TB_EFULL)
			sim_fail("%s can't publish: %s", engine->name, err.text);
		return 0;
	}
	memcpy(payload, canonical.data, canonical.size);
	uint64_t number = tb_outbox_commit(engine->outbox, canonical.size, step_of(kind));
	note_event(engine, tb_buf_span(&canonical), kind, op_first);
	if (number != engine->count && !engine->struck)
		sim_fail("%s: event %llu was accepted as number %llu", engine->name, (unsigned long long)engine->count,
		         (unsigned long long)number);
	return 1;
}

static void publish(struct sim_engine *engine)
{
	if (sim.healing || engine->count >= engine->quota || sim_below(3) != 0)
		return;
	for (uint64_t left = 1 + sim_below(engine->value_max > 4096 ? 2 : 8); left > 0 && publish_one(engine); left--)
		;
}

/* ---- the pump */

static void say_hello(struct sim_engine *engine)
{
	Tb__HelloRequest request;
	Tb__HelloReply *reply = NULL;
	tb_err err = { 0 };
	if (!tb_pump_hello(engine->pump, &request))
		return;
	sim.steps++;
	tb_rc rc = engine->cut_until > sim.mono_ns ? tb_fail(&err, TB_ETIMEOUT, "cut off")
	                                           : tb_bus_hello(&engine->bus, &request, TB_NS_PER_S, sim.arena, &reply, &err);
	if (rc == TB_OK)
		tb_pump_answered(engine->pump, reply);
	else
		tb_pump_unanswered(engine->pump, rc, reply, &err);
}

static void judge(struct sim_engine *engine)
{
	tb_pump_figures figures;
	tb_err err = { 0 };
	if (tb_pump_failure(engine->pump, &err) != TB_OK)
		sim_fail("the publisher of %s fails: %s", engine->name, err.text);
	tb_pump_figures_get(engine->pump, &figures);
	if (figures.durable < engine->pump_durable || figures.durable > engine->count)
		sim_fail("the publisher of %s took %llu as durable, now %llu, of %llu", engine->name,
		         (unsigned long long)engine->pump_durable, (unsigned long long)figures.durable,
		         (unsigned long long)engine->count);
	engine->pump_durable = figures.durable;
}

static void kill_engine(struct sim_engine *engine)
{
	uint64_t undelivered = tb_outbox_last(engine->outbox) - engine->pump_durable;
	close_engine(engine);
	outbox_strike(engine, undelivered);
	engine->down_until = sim.mono_ns + sim_below(TB_NS_PER_S);
	sim.counts[SIM_KILLS]++;
	sim_say("%s is killed at event %llu", engine->name, (unsigned long long)engine->count);
}

void engine_turn(struct sim_engine *engine)
{
	tb_span frame;
	sim.steps++;
	if (engine->pump == NULL) {
		if (engine->down_until <= sim.mono_ns)
			open_engine(engine);
		return;
	}
	publish(engine);
	if (sim_strikes(sim.rates.engine_kill)) {
		kill_engine(engine);
		return;
	}
	say_hello(engine);
	for (int i = 0; i < FRAMES_A_TURN && tb_pump_next(engine->pump, &frame); i++) {
		line_send(engine, 1, frame);
		tb_pump_sent(engine->pump);
	}
	if (tb_pump_confirmed(engine->pump) && !engine->synced)
		outbox_synced(engine);
	judge(engine);
	if (engine->pump_durable == tb_outbox_last(engine->outbox))
		outbox_copy(engine);
}

void engine_heard(struct sim_engine *engine, tb_span told)
{
	if (engine->pump == NULL)
		return;
	tb_pump_heard(engine->pump, told);
	judge(engine);
}

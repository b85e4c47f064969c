/* The line between engines and broker: what is on its way, in any order. */
#include "sim.h"

#include <stdlib.h>

#define ON_ITS_WAY_MAX 4096u
#define LATE_MAX (400 * TB_NS_PER_MS)

static void add(struct sim_engine *engine, int to_broker, tb_span bytes)
{
	if (sim.message_count == ON_ITS_WAY_MAX) {
		if (sim.healing)
			sim_fail("%zu messages are on their way at once", sim.message_count);
		return;
	}
	struct sim_message *message = tb_alloc_zero(1, sizeof(*message));
	message->engine = engine;
	message->to_broker = to_broker;
	message->due_ns = sim.mono_ns + sim_below(TB_NS_PER_MS);
	if (sim_strikes(sim.rates.line_late))
		message->due_ns += sim_below(LATE_MAX);
	tb_buf_append_span(&message->bytes, bytes);
	struct sim_message **at = &sim.messages;
	while (*at != NULL && (*at)->due_ns <= message->due_ns)
		at = &(*at)->next;
	message->next = *at;
	*at = message;
	sim.message_count++;
}

void line_send(struct sim_engine *engine, int to_broker, tb_span bytes)
{
	if (sim_strikes(sim.rates.line_cut) && engine->cut_until < sim.mono_ns)
		engine->cut_until = sim.mono_ns + sim_below(3 * TB_NS_PER_S);
	if ((!sim.healing && engine->cut_until > sim.mono_ns) || sim_strikes(sim.rates.line_drop)) {
		sim.counts[SIM_LOST]++;
		return;
	}
	add(engine, to_broker, bytes);
	if (sim_strikes(sim.rates.line_repeat))
		add(engine, to_broker, bytes);
}

static void drop(struct sim_message **at)
{
	struct sim_message *message = *at;
	*at = message->next;
	sim.message_count--;
	tb_buf_drop(&message->bytes);
	free(message);
}

int line_deliver(void)
{
	struct sim_message *message = sim.messages;
	if (message == NULL || message->due_ns > sim.mono_ns)
		return 0;
	sim.messages = message->next;
	message->next = NULL;
	sim.message_count--;
	sim.steps++;
	if (message->to_broker)
		host_event(tb_buf_span(&message->bytes));
	else
		engine_heard(message->engine, tb_buf_span(&message->bytes));
	tb_buf_drop(&message->bytes);
	free(message);
	return 1;
}

void line_clear(int to_broker)
{
	for (struct sim_message **at = &sim.messages; *at != NULL;)
		if ((*at)->to_broker == to_broker)
			drop(at);
		else
			at = &(*at)->next;
}

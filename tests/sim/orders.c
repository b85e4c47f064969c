/* An operator who orders backups now and then, and asks again when nobody answered. */
#include "sim.h"

static struct sim_order *last_order(void)
{
	return &sim.orders[sim.order_count - 1];
}

static tb_rc put_order(const struct sim_order *order, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf frame = { 0 };
	Tb__Order message = TB__ORDER__INIT;
	message.stream = (char *)(uintptr_t)order->engine->name;
	message.type = (char *)(uintptr_t)"FULL";
	message.backup = (char *)(uintptr_t)order->id;
	message.by = (char *)(uintptr_t)"sim";
	size_t at = tb_frame_begin(&frame);
	tb_buf_reserve(&frame, tb__order__get_packed_size(&message));
	frame.size += tb__order__pack(&message, frame.data + frame.size);
	tb_frame_end(&frame, at, &(tb_frame){ .kind = TB_KIND_ORDER, .count = 1, .stream = order->engine->hash });
	Tb__PutRequest request = TB__PUT_REQUEST__INIT;
	Tb__PutReply *reply;
	tb_bus bus = { .request = sim_bus_request };
	return tb_bus_put(&bus, &request, tb_buf_span(&frame), TB_NS_PER_S, sim.arena, &reply, err);
}

/* Asks for the last one, once. Whether it is known now what became of it. */
static void ask(void)
{
	struct sim_order *order = last_order();
	tb_err err = { 0 };
	sim.steps++;
	tb_rc rc = put_order(order, &err);
	sim_say("backup %s of %s is ordered: %s", order->id, order->engine->name, rc == TB_OK ? "ok" : err.text);
	switch (rc) {
	case TB_OK:
		order->given = 1;
		sim.counts[SIM_BACKUPS]++;
		sim.order_open = 0;
		break;
	case TB_EBUSY: /* another runs, so this one doesn't; it may have been asked for in vain before */
	case TB_ENOTFOUND:
		sim.order_open = 0;
		break;
	case TB_ETIMEOUT:
	case TB_EUNREACHABLE:
		sim.order_open = 1;
		break;
	case TB_EFULL:
	case TB_ENOSPACE:
		sim.order_open = 1;
		break;
	default:
		sim_fail("an order is refused: %s", err.text);
	}
}

void orders_turn(void)
{
	if (sim.mono_ns < sim.order_due)
		return;
	sim.order_due = sim.mono_ns + sim_below(3 * TB_NS_PER_S);
	if (!sim.order_open) {
		if (sim.healing || sim.order_count == SIM_ORDERS)
			return;
		struct sim_order *order = &sim.orders[sim.order_count++];
		*order = (struct sim_order){ .engine = &sim.engines[sim_below(sim.engine_count)] };
		tb_backup_id(tb_backup_type_find("FULL"), sim.real_ns, order->id);
	}
	ask();
}

void orders_close(void)
{
	sim.order_due = sim.mono_ns;
	if (sim.order_open)
		orders_turn();
}

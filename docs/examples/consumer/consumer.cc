// consumer-cxx DIR: the public headers are C++, too: publishes one event to the instance in DIR.
#include <tb/errors.h>
#include <tb/events.h>
#include <tb/publish.h>
#include <tb/restore.h>

#include <cstdint>
#include <cstdio>
#include <memory>

namespace {

struct Close {
	void operator()(tb_publisher *publisher) const { tb_publisher_close(publisher); }
};

int fail(const tb_err &err)
{
	std::fprintf(stderr, "consumer-cxx: %s\n", err.text);
	return tb_rc_exit(err.rc);
}

} // namespace

int main(int argc, char **argv)
{
	if (argc != 2) {
		std::fprintf(stderr, "usage: consumer-cxx DIR\n");
		return 2;
	}
	tb_publisher_options options{};
	options.stream = "consumer-cxx";
	options.dir = argv[1];
	tb_err err{};
	tb_publisher *opened = nullptr;
	if (tb_publisher_open(&options, &opened, &err) != TB_OK)
		return fail(err);
	const std::unique_ptr<tb_publisher, Close> publisher(opened);
	tb_event event;
	tb_event_default(&event, TB_EVENT_GHOST);
	event.body.ghost.event_type = "ghost_trigger";
	event.body.ghost.trigger = "price_spike";
	event.body.ghost.pair = "BTC→ETH";
	event.body.ghost.bit_phase = tb_bit_phase_of_volatility(0.05);
	std::uint64_t number = 0;
	if (tb_publish(opened, &event, &number, &err) != TB_OK ||
	    tb_publisher_wait(opened, number, TB_DURABLE, 30000000000u, &err) != TB_OK)
		return fail(err);
	std::printf("event %llu is durable\n", static_cast<unsigned long long>(number));
	return 0;
}

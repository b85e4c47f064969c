/* What was never made can be given back: each way out of a function that failed half-way leans on that. */
#include "base/arena.h"
#include "bus/door.h"
#include "bus/listen.h"
#include "bus/publisher_pump.h"
#include "leaks.h"
#include "run/loop.h"
#include "run/outgoing.h"
#include "store/chunker.h"
#include "store/event_index.h"
#include "store/keys.h"
#include "store/restore.h"
#include "store/seal.h"
#include "tb/publish.h"

#include <criterion/criterion.h>

TestSuite(nothing, .fini = fail_on_leaks);

Test(nothing, is_freed_dropped_and_closed_like_something)
{
	tb_arena_free(NULL);
	tb_buf_drop(NULL);
	tb_socket_close(NULL);
	tb_bus_close(NULL);
	tb_topics_close(NULL);
	tb_server_close(NULL);
	tb_line_close(NULL);
	tb_inlet_close(NULL);
	tb_outlet_close(NULL);
	tb_outbox_close(NULL);
	tb_pump_free(NULL);
	tb_publisher_close(NULL);
	tb_key_free(NULL);
	tb_keyring_free(NULL);
	tb_chunker_drop(NULL);
	tb_event_index_free(NULL);
	tb_bank_close(NULL);
	tb_txn_abort(NULL);
	tb_cursor_close(NULL);
	tb_tier_close(NULL);
	tb_state_close(NULL);
	tb_sealer_free(NULL);
	tb_archive_close(NULL);
	tb_outgoing_free(NULL);
	tb_loop_close(NULL);
}

Test(nothing, an_empty_one_is_dropped_like_a_full_one)
{
	tb_state state = { 0 };
	tb_sink sink = { 0 };
	tb_door door = { .knock_fd = -1 };
	tb_answer answer = { 0 };
	tb_state_close(&state);
	tb_sink_close(&sink);
	tb_door_close(&door);
	tb_answer_drop(&answer);
}

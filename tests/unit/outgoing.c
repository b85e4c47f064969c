#include "leaks.h"
#include "run/outgoing.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

/* A bus that notes what was put and answers what it is told to. */
struct fake {
	tb_bus bus;
	tb_rc answer;
	int puts;
	uint64_t streams[16], generations[16], finished[16];
	size_t frame_bytes[16];
};

static char dir[64];
static tb_bank *bank;
static struct fake fake;
static const uint8_t member[TB_MEMBER] = { 7 };

static tb_rc fake_request(tb_bus *bus, tb_span request, uint64_t timeout_ns, tb_buf *ret_answer, tb_err *err)
{
	(void)bus;
	(void)timeout_ns;
	tb_arena *arena = tb_arena_new();
	ProtobufCMessage *message;
	cr_assert_eq(tb_control_read(&request, TB_KIND_PUT, &tb__put_request__descriptor, arena, &message, err), TB_OK);
	Tb__PutRequest *put = (Tb__PutRequest *)message;
	fake.streams[fake.puts] = put->stream;
	fake.generations[fake.puts] = put->generation;
	fake.finished[fake.puts] = put->n_finished ? put->finished[0] : 0;
	fake.frame_bytes[fake.puts] = request.size;
	fake.puts++;
	Tb__PutReply reply = TB__PUT_REPLY__INIT;
	Tb__Status status = TB__STATUS__INIT;
	status.code = fake.answer;
	reply.status = &status;
	tb_buf_clear(ret_answer);
	tb_control_write(ret_answer, TB_KIND_ANSWER, &reply.base);
	tb_arena_free(arena);
	return TB_OK;
}

static void setup(void)
{
	snprintf(dir, sizeof(dir), "/tmp/tb-outgoing-XXXXXX");
	cr_assert(mkdtemp(dir) != NULL);
	fake = (struct fake){ .bus = { .request = fake_request } };
	cr_assert_eq(tb_bank_open(dir, TB_BANK_WRITER | TB_BANK_SCRATCH, 1 << 24, &bank, NULL), TB_OK);
}

static void teardown(void)
{
	tb_bank_close(bank);
	tb_disk_remove_tree(tb_disk_system(), dir, NULL);
	fail_on_leaks();
}

TestSuite(outgoing, .init = setup, .fini = teardown);

static tb_outgoing *open_queue(void)
{
	tb_outgoing *outgoing;
	cr_assert_eq(tb_outgoing_open(bank, member, TB_GROUP_COLLECTOR, &outgoing, NULL), TB_OK);
	return outgoing;
}

static void queue(tb_outgoing *outgoing, uint64_t stream, uint64_t finished)
{
	tb_txn *txn;
	cr_assert_eq(tb_bank_write(bank, &txn, NULL), TB_OK);
	cr_assert_eq(tb_outgoing_sweep(outgoing, txn, NULL), TB_OK);
	tb_put put = { .stream = stream, .finished = &finished, .finished_count = 1 };
	cr_assert_eq(tb_outgoing_add(outgoing, txn, &put, NULL), TB_OK);
	cr_assert_eq(tb_txn_commit(txn, NULL), TB_OK);
	tb_outgoing_commit(outgoing);
}

static tb_rc flush(tb_outgoing *outgoing)
{
	tb_arena *arena = tb_arena_new();
	tb_err err;
	uint64_t stream;
	tb_rc rc = tb_outgoing_flush(outgoing, &fake.bus, arena, TB_NS_PER_S, &stream, &err);
	tb_arena_free(arena);
	return rc;
}

Test(outgoing, puts_go_out_in_the_order_they_were_queued)
{
	tb_outgoing *outgoing = open_queue();
	tb_outgoing_lease(outgoing, 5, 1);
	queue(outgoing, 5, 10);
	queue(outgoing, 5, 11);
	cr_assert_not(tb_outgoing_settled(outgoing));
	cr_assert_eq(flush(outgoing), TB_OK);
	cr_assert_eq(fake.puts, 2);
	cr_assert_eq(fake.finished[0], 10);
	cr_assert_eq(fake.finished[1], 11);
	cr_assert(tb_outgoing_settled(outgoing));
	tb_outgoing_free(outgoing);
}

Test(outgoing, an_answered_put_is_not_sent_again)
{
	tb_outgoing *outgoing = open_queue();
	tb_outgoing_lease(outgoing, 5, 1);
	queue(outgoing, 5, 10);
	cr_assert_eq(flush(outgoing), TB_OK);
	queue(outgoing, 5, 11);
	cr_assert_eq(flush(outgoing), TB_OK);
	cr_assert_eq(fake.puts, 2);
	tb_outgoing_free(outgoing);
}

Test(outgoing, an_unanswered_put_survives_the_process_and_goes_out_under_the_new_generation)
{
	tb_outgoing *outgoing = open_queue();
	tb_outgoing_lease(outgoing, 5, 1);
	queue(outgoing, 5, 10);
	fake.answer = TB_ETIMEOUT;
	cr_assert_eq(flush(outgoing), TB_ETIMEOUT);
	tb_outgoing_free(outgoing);
	fake.answer = TB_OK;
	outgoing = open_queue();
	tb_outgoing_lease(outgoing, 5, 2);
	cr_assert_eq(flush(outgoing), TB_OK);
	cr_assert_eq(fake.puts, 2);
	cr_assert_eq(fake.finished[1], 10);
	cr_assert_eq(fake.generations[1], 2);
	tb_outgoing_free(outgoing);
}

Test(outgoing, puts_of_a_stream_that_is_not_held_stay_back_without_holding_up_others)
{
	tb_outgoing *outgoing = open_queue();
	tb_outgoing_lease(outgoing, 6, 3);
	queue(outgoing, 5, 10);
	queue(outgoing, 6, 11);
	cr_assert_eq(flush(outgoing), TB_OK);
	cr_assert_eq(fake.puts, 1);
	cr_assert_eq(fake.streams[0], 6);
	tb_outgoing_lease(outgoing, 5, 4);
	cr_assert_eq(flush(outgoing), TB_OK);
	cr_assert_eq(fake.puts, 2);
	cr_assert_eq(fake.streams[1], 5);
	tb_outgoing_free(outgoing);
}

Test(outgoing, a_fenced_stream_sends_nothing_more)
{
	tb_outgoing *outgoing = open_queue();
	tb_outgoing_lease(outgoing, 5, 1);
	queue(outgoing, 5, 10);
	queue(outgoing, 5, 11);
	fake.answer = TB_EFENCED;
	cr_assert_eq(flush(outgoing), TB_EFENCED);
	fake.answer = TB_OK;
	cr_assert_eq(flush(outgoing), TB_OK);
	cr_assert_eq(fake.puts, 1);
	tb_outgoing_free(outgoing);
}

Test(outgoing, what_was_queued_for_another_journal_is_forgotten)
{
	tb_outgoing *outgoing = open_queue();
	queue(outgoing, 5, 10);
	tb_outgoing_add_volatile(outgoing, &(tb_put){ .stream = 5 }, NULL);
	tb_txn *txn;
	cr_assert_eq(tb_bank_write(bank, &txn, NULL), TB_OK);
	cr_assert_eq(tb_outgoing_clear(outgoing, txn, NULL), TB_OK);
	cr_assert_eq(tb_txn_commit(txn, NULL), TB_OK);
	tb_outgoing_lease(outgoing, 5, 1);
	queue(outgoing, 5, 11);
	cr_assert_eq(flush(outgoing), TB_OK);
	cr_assert_eq(fake.puts, 1);
	cr_assert_eq(fake.finished[0], 11);
	tb_outgoing_free(outgoing);
}

Test(outgoing, a_put_that_the_broker_knows_no_stream_for_is_not_taken_for_one_that_stays_back)
{
	tb_outgoing *outgoing = open_queue();
	tb_outgoing_lease(outgoing, 5, 1);
	queue(outgoing, 5, 10);
	fake.answer = TB_ENOTFOUND;
	cr_assert_eq(flush(outgoing), TB_ENOTFOUND);
	cr_assert_not(tb_outgoing_settled(outgoing));
	tb_outgoing_free(outgoing);
}

Test(outgoing, what_an_aborted_transaction_queued_is_forgotten)
{
	tb_outgoing *outgoing = open_queue();
	tb_outgoing_lease(outgoing, 5, 1);
	tb_txn *txn;
	uint64_t finished = 10;
	cr_assert_eq(tb_bank_write(bank, &txn, NULL), TB_OK);
	cr_assert_eq(tb_outgoing_add(outgoing, txn, &(tb_put){ .stream = 5, .finished = &finished, .finished_count = 1 }, NULL),
	             TB_OK);
	tb_txn_abort(txn);
	tb_outgoing_abort(outgoing);
	cr_assert_eq(flush(outgoing), TB_OK);
	cr_assert_eq(fake.puts, 0);
	tb_outgoing_free(outgoing);
}

Test(outgoing, volatile_puts_wait_when_the_broker_is_full)
{
	tb_outgoing *outgoing = open_queue();
	tb_outgoing_lease(outgoing, 5, 1);
	tb_outgoing_add_volatile(outgoing, &(tb_put){ .stream = 5 }, NULL);
	fake.answer = TB_EFULL;
	cr_assert_eq(flush(outgoing), TB_EFULL);
	cr_assert(tb_outgoing_waits(outgoing));
	fake.answer = TB_OK;
	cr_assert_eq(flush(outgoing), TB_OK);
	cr_assert_not(tb_outgoing_waits(outgoing));
	cr_assert_eq(fake.puts, 2);
	cr_assert_eq(flush(outgoing), TB_OK);
	cr_assert_eq(fake.puts, 2);
	tb_outgoing_free(outgoing);
}

Test(outgoing, a_bank_that_can_not_be_written_holds_no_queue)
{
	tb_bank_close(bank);
	cr_assert_eq(tb_bank_open(dir, TB_BANK_READONLY, 1 << 24, &bank, NULL), TB_OK);
	tb_outgoing *outgoing;
	cr_assert_eq(tb_outgoing_open(bank, member, TB_GROUP_COLLECTOR, &outgoing, NULL), TB_EREFUSED);
}

static void put_record(const char *bytes, size_t size)
{
	tb_txn *txn;
	tb_db db;
	static const uint8_t first[8] = { 0, 0, 0, 0, 0, 0, 0, 1 };
	cr_assert_eq(tb_bank_write(bank, &txn, NULL), TB_OK);
	cr_assert_eq(tb_txn_db(txn, "outgoing", &db, NULL), TB_OK);
	cr_assert_eq(tb_txn_put(txn, db, tb_span_of(first, 8), tb_span_of(bytes, size), NULL), TB_OK);
	cr_assert_eq(tb_txn_commit(txn, NULL), TB_OK);
}

Test(outgoing, a_damaged_record_is_not_put)
{
	static const struct {
		const char *bytes;
		size_t size;
	} rows[] = { { "abc", 3 }, { "\xff\0\0\0", 4 }, { "\1\0\0\0\xff", 5 } };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		put_record(rows[i].bytes, rows[i].size);
		tb_outgoing *outgoing = open_queue();
		cr_assert_eq(flush(outgoing), TB_ECORRUPT);
		tb_outgoing_free(outgoing);
	}
	cr_assert_eq(fake.puts, 0);
}

Test(outgoing, what_was_answered_and_then_forgotten_is_swept_without_complaint)
{
	tb_outgoing *outgoing = open_queue();
	tb_outgoing_lease(outgoing, 5, 1);
	queue(outgoing, 5, 10);
	cr_assert_eq(flush(outgoing), TB_OK);
	tb_txn *txn;
	cr_assert_eq(tb_bank_write(bank, &txn, NULL), TB_OK);
	cr_assert_eq(tb_outgoing_clear(outgoing, txn, NULL), TB_OK);
	cr_assert_eq(tb_outgoing_sweep(outgoing, txn, NULL), TB_OK);
	cr_assert_eq(tb_txn_commit(txn, NULL), TB_OK);
	tb_outgoing_free(outgoing);
}

static void queue_volatile(tb_outgoing *outgoing, uint64_t stream, uint64_t finished)
{
	tb_put put = { .stream = stream, .finished = &finished, .finished_count = 1 };
	tb_outgoing_add_volatile(outgoing, &put, NULL);
	tb_outgoing_commit(outgoing);
}

Test(outgoing, what_is_queued_for_one_stream_is_forgotten_and_that_of_others_stays)
{
	tb_outgoing *outgoing = open_queue();
	tb_txn *txn;
	tb_outgoing_lease(outgoing, 5, 1);
	tb_outgoing_lease(outgoing, 6, 1);
	for (uint64_t i = 0; i < 6; i++)
		queue(outgoing, 5 + i % 2, 10 + i);
	for (uint64_t i = 0; i < 4; i++)
		queue_volatile(outgoing, 5 + i % 2, 20 + i);
	cr_assert_eq(tb_bank_write(bank, &txn, NULL), TB_OK);
	cr_assert_eq(tb_outgoing_forget(outgoing, txn, 6, NULL), TB_OK);
	cr_assert_eq(tb_txn_commit(txn, NULL), TB_OK);
	queue_volatile(outgoing, 5, 30); /* behind the last that stayed */
	cr_assert_eq(flush(outgoing), TB_OK);
	cr_assert_eq(fake.puts, 6);
	uint64_t sum = 0;
	for (int i = 0; i < fake.puts; i++) {
		cr_assert_eq(fake.streams[i], 5);
		sum += fake.finished[i];
	}
	cr_assert_eq(sum, 10 + 12 + 14 + 20 + 22 + 30);
	tb_outgoing_free(outgoing);
}

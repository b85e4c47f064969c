/* A broker that opens a journal: whatever frames stand in it, it refuses them or runs on them; and where it has run it
 * opens again and says the same of its streams. */
#include "fuzz/fuzz_broker.h"
#include "fuzz/fuzz_journal.h"

static Tb__StatReply *stat_now(void)
{
	Tb__StatRequest request = TB__STAT_REQUEST__INIT;
	return fuzz_answer(fuzz_ask_message(TB_KIND_STAT, &request.base, (tb_span){ 0 }), &tb__stat_reply__descriptor, NULL);
}

static tb_rc settle(void)
{
	tb_err err = { 0 };
	tb_broker_tick(fuzz_broker.broker);
	tb_rc rc = tb_broker_commit(fuzz_broker.broker, &err);
	if (rc != TB_OK)
		fuzz_refused(rc, &err);
	return rc;
}

static void take_all(void)
{
	for (unsigned group = TB_GROUP_COLLECTOR; group < TB_GROUP_COUNT; group++) {
		Tb__TakeRequest request = TB__TAKE_REQUEST__INIT;
		request.group = group;
		request.member = fuzz_id(0);
		for (int turn = 0; turn < 3; turn++) {
			const struct fuzz_asker *asker = fuzz_ask_message(TB_KIND_TAKE, &request.base, (tb_span){ 0 });
			if (settle() != TB_OK)
				return;
			const Tb__TakeReply *reply = fuzz_answer(asker, &tb__take_reply__descriptor, NULL);
			if (reply == NULL)
				break;
			request.turn = reply->turn;
			request.generation = reply->generation;
		}
	}
}

static void fetch_all(const Tb__StatReply *stat)
{
	for (size_t i = 0; i < stat->n_streams && i < 4; i++) {
		Tb__FetchRequest request = TB__FETCH_REQUEST__INIT;
		request.stream = stat->streams[i]->name;
		request.from = stat->streams[i]->first_held;
		fuzz_ask_message(TB_KIND_FETCH, &request.base, (tb_span){ 0 });
		request.from = stat->streams[i]->durable;
		fuzz_ask_message(TB_KIND_FETCH, &request.base, (tb_span){ 0 });
	}
}

static void same_streams(const Tb__StatReply *a, const Tb__StatReply *b)
{
	hold(a->n_streams == b->n_streams);
	for (size_t i = 0; i < a->n_streams; i++) {
		const Tb__StreamStat *was = a->streams[i], *is = b->streams[i];
		hold(strcmp(was->name, is->name) == 0);
		hold(was->epoch == is->epoch && was->durable == is->durable && was->stored == is->stored &&
		     was->cut == is->cut && was->chain == is->chain);
	}
}

static void run(void)
{
	const Tb__StatReply *stat = stat_now(), *again;
	hold(stat != NULL);
	take_all();
	fetch_all(stat);
	if (settle() != TB_OK)
		return;
	again = stat_now();
	fuzz_broker_close();
	hold(fuzz_broker_open(NULL) == TB_OK);
	same_streams(again, stat_now());
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	tb_err err;
	fuzz_broker_begin(FUZZ_JOURNAL_FILE);
	fuzz_journal_lay(&fuzz_broker.disk, tb_span_of(data, size));
	tb_rc rc = fuzz_broker_open(&err);
	if (rc == TB_OK)
		run();
	else
		fuzz_refused(rc, &err);
	fuzz_broker_end();
	return 0;
}

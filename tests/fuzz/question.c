/* What is asked of the signal worker: any text has one answer, at once or when its time is over, and it is JSON. */
#include "fuzz/fuzz.h"
#include "workers/signal/signal.h"

#include <jansson.h>

static int answered;
static uint64_t listed;

/* Stand in for the sockets and the bank. */
#define tb_question_answer answer_here
#define tb_server_listen listen_nowhere
#define tb_server_fd no_fd
#define tb_server_poll poll_nothing
#define tb_server_close poll_nothing
#define records_list list_here

static void answer_here(tb_question *question, tb_span text)
{
	(void)question;
	json_t *answer = json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, NULL);
	hold(json_is_object(answer));
	json_decref(answer);
	answered++;
}

static tb_rc list_here(signal_state *state, const signal_filter *filter, tb_buf *to, size_t *ret_count, tb_err *err)
{
	(void)state;
	hold(filter->limit <= 10000);
	hold(strlen(filter->topic) < sizeof(filter->topic) && strlen(filter->stream) < sizeof(filter->stream) &&
	     strlen(filter->backup) < sizeof(filter->backup));
	if (filter->since == 3)
		return tb_fail(err, TB_EIO, "the bank \"can't\" be read\n");
	*ret_count = listed > filter->since;
	if (*ret_count)
		tb_buf_print(to, "{\"number\":%llu}", (unsigned long long)listed);
	return TB_OK;
}

static tb_rc listen_nowhere(const char *url, unsigned questions_max, tb_question_fn fn, void *self,
                            tb_server **ret_server, tb_err *err)
{
	(void)url, (void)questions_max, (void)fn, (void)self, (void)ret_server;
	return tb_fail(err, TB_EUNSUPPORTED, "nobody listens here");
}

static int no_fd(tb_server *server)
{
	(void)server;
	return -1;
}

static void poll_nothing(tb_server *server)
{
	(void)server;
}

#include "workers/signal/questions.c"

static uint64_t stands_still(void *self)
{
	(void)self;
	return 5 * TB_NS_PER_S;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	tb_clock clock = { NULL, stands_still, stands_still };
	tb_worker_env env = { .clock = &clock };
	struct question waiting[QUESTIONS_MAX];
	signal_state state = { .env = &env, .questions = waiting, .durable = 17 };
	answered = 0;
	listed = 0;
	asked(&state, NULL, tb_span_of(data, size));
	hold(answered + (int)state.question_count == 1);
	listed = size % 2 ? 17 : 0;
	questions_tell(&state, 6 * TB_NS_PER_S);
	hold(questions_wait_ns(&state, 6 * TB_NS_PER_S) <= TB_NS_PER_S);
	questions_tell(&state, 5 * TB_NS_PER_S + WAIT_MAX_MS * TB_NS_PER_MS);
	hold(answered == 1 && state.question_count == 0);
	return 0;
}

/* tb wait, and questions about signals. */
#include "workers/tb/watch.h"

#define ANSWER_NS (5 * TB_NS_PER_S) /* for an answer, beyond the time that it may take */
#define QUESTION_MS 20000           /* one question waits so long; then the next */

#define AT(field) offsetof(struct wait_options, field)
const tb_opt tb_wait_rows[] = {
	{ "stream", 's', TB_OPT_TEXT, AT(stream), NULL, NULL, "S", "Only signals of that stream.", 1 },
	{ "backup", 'b', TB_OPT_TEXT, AT(backup), NULL, NULL, "ID",
	  "The signal of that backup, also if it is there already.", 1 },
	{ "since", 0, TB_OPT_TEXT, AT(since), NULL, NULL, "N",
	  "The first one with a higher number, also if it is there already.", 1 },
	{ "timeout", 't', TB_OPT_SPAN, AT(timeout_ns), "30s", NULL, NULL, "How long to wait.", 1 },
	{ 0 },
};

static const char *const signal_topics[] = { "BACKUP_READY", NULL };

tb_rc tb_signal_topic_check(const char *topic, tb_err *err)
{
	for (const char *const *known = signal_topics; *known != NULL; known++)
		if (strcmp(*known, topic) == 0)
			return TB_OK;
	return tb_name_unknown("topic of signals", topic, signal_topics, "tb wait ", err);
}

tb_rc tb_since_read(const char *text, uint64_t *ret_since, tb_err *err)
{
	if (text == NULL || tb_uint_parse(text, ret_since))
		return TB_OK;
	return tb_fail(err, TB_EINVAL, "--since is the number of a message: '%.100s' is none", text);
}

static void ask_for(json_t *question, const char *name, const char *text)
{
	if (text != NULL)
		json_object_set_new(question, name, json_string(text));
}

tb_rc tb_signals_ask(const tb_call *call, const tb_signals_asked *asked, json_t **ret_answer, tb_err *err)
{
	json_t *question = json_pack("{s:I, s:I, s:I}", "since", (json_int_t)asked->since, "limit",
	                             (json_int_t)asked->limit, "wait_ms", (json_int_t)asked->wait_ms);
	ask_for(question, "topic", asked->topic);
	ask_for(question, "stream", asked->stream);
	ask_for(question, "backup", asked->backup);
	tb_rc rc = tb_call_ask(call, question, asked->wait_ms * TB_NS_PER_MS + ANSWER_NS, ret_answer, err);
	json_decref(question);
	return rc;
}

uint64_t tb_signals_last(const json_t *answer)
{
	return (uint64_t)json_integer_value(json_object_get(answer, "last"));
}

uint64_t tb_signal_number(const json_t *record)
{
	return (uint64_t)json_integer_value(json_object_get(record, "number"));
}

/* Where waiting begins: behind what there is, unless something else was asked for. */
static tb_rc find_since(const tb_call *call, tb_signals_asked *asked, tb_err *err)
{
	const struct wait_options *options = call->options;
	json_t *answer;
	if (options->backup != NULL || options->since != NULL)
		return tb_since_read(options->since, &asked->since, err);
	tb_rc rc = tb_signals_ask(call, &(tb_signals_asked){ .topic = asked->topic }, &answer, err);
	if (rc != TB_OK)
		return rc;
	asked->since = tb_signals_last(answer);
	json_decref(answer);
	return TB_OK;
}

static tb_rc fail_waiting(const tb_call *call, const tb_signals_asked *asked, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	const struct wait_options *options = call->options;
	json_t *answer;
	tb_buf_print(&text, "no %s", asked->topic);
	if (asked->backup != NULL)
		tb_buf_print(&text, " of backup %.60s", asked->backup);
	if (asked->stream != NULL)
		tb_buf_print(&text, " of stream %s", asked->stream);
	tb_buf_print(&text, " in ");
	tb_span_text_ns(&text, options->timeout_ns);
	if (tb_signals_ask(call, &(tb_signals_asked){ .topic = asked->topic }, &answer, NULL) == TB_OK) {
		tb_buf_print(&text, "; the last signal was number %llu", tb_ull(tb_signals_last(answer)));
		json_decref(answer);
	}
	tb_fail(err, TB_ETIMEOUT, "%s", tb_buf_text(&text));
	tb_hint(err, "`tb status` tells whether a backup is running");
	return TB_ETIMEOUT;
}

/* One question after the other. A signal worker that was there and is away for a while is waited for. */
static tb_rc wait_for(const tb_call *call, tb_signals_asked *asked, tb_progress *progress, json_t **ret_record,
                      tb_err *err)
{
	const struct wait_options *options = call->options;
	uint64_t begun = tb_mono_ns(call->clock), passed = 0;
	do {
		uint64_t left_ms = (options->timeout_ns - passed) / TB_NS_PER_MS;
		uint64_t most = progress->terminal ? 1000 : QUESTION_MS;
		json_t *answer;
		asked->wait_ms = left_ms < most ? left_ms : most;
		tb_rc rc = tb_signals_ask(call, asked, &answer, err);
		if (rc == TB_OK) {
			*ret_record = json_incref(json_array_get(json_object_get(answer, "records"), 0));
			json_decref(answer);
			if (*ret_record != NULL)
				return TB_OK;
		} else if (rc != TB_EUNREACHABLE && rc != TB_ETIMEOUT) {
			return rc;
		}
		tb_progress_tell(progress, 0, 0);
		passed = tb_mono_ns(call->clock) - begun;
	} while (passed < options->timeout_ns);
	return fail_waiting(call, asked, err);
}

tb_rc verb_wait(tb_call *call, tb_err *err)
{
	const struct wait_options *options = call->options;
	tb_signals_asked asked = { .topic = call->operand_count > 0 ? call->operands[0] : signal_topics[0],
		                       .stream = options->stream, .backup = options->backup, .limit = 1 };
	tb_progress progress;
	json_t *record;
	tb_rc rc = tb_signal_topic_check(asked.topic, err);
	if (rc == TB_OK)
		rc = find_since(call, &asked, err);
	if (rc != TB_OK)
		return rc;
	tb_progress_start(&progress, call->clock, "waiting", NULL);
	rc = wait_for(call, &asked, &progress, &record, err);
	tb_progress_end(&progress);
	if (rc == TB_OK)
		tb_print_json(record);
	return rc;
}

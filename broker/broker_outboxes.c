/* An outbox counts what it accepts; a place in it never changes, while the numbers of what it hasn't delivered do when the
 * stream goes on elsewhere. The broker notes with each epoch which place got which number, and so can say of each outbox
 * that it knows how far it has come: what was delivered is not sent again, and what wasn't is sent once. */
#include "broker/broker_state.h"

#include "base/planted.h"

static tb_outbox_known *find(const tb_stream *stream, const uint8_t *id)
{
	for (uint32_t i = 0; stream != NULL && i < stream->outbox_count; i++)
		if (memcmp(stream->outboxes[i].id, id, TB_ID) == 0)
			return (tb_outbox_known *)(uintptr_t)&stream->outboxes[i];
	return NULL;
}

static void forget(tb_stream *stream, size_t index)
{
	stream->outbox_count--;
	memmove(stream->outboxes + index, stream->outboxes + index + 1,
	        (stream->outbox_count - index) * sizeof(stream->outboxes[0]));
}

void tb_outbox_note(tb_stream *stream, const uint8_t *id, uint64_t first, uint64_t place)
{
	if (stream->outbox_count > 0)
		stream->outboxes[stream->outbox_count - 1].upto = stream->gathered;
	const tb_outbox_known *known = find(stream, id);
	if (known != NULL)
		forget(stream, (size_t)(known - stream->outboxes));
	else if (stream->outbox_count == TB_OUTBOXES_KEPT)
		forget(stream, 0);
	tb_outbox_known *newest = &stream->outboxes[stream->outbox_count++];
	*newest = (tb_outbox_known){ .first = first, .place = place, .upto = first - 1 };
	memcpy(newest->id, id, TB_ID);
}

/* The last place that has come of it. */
static uint64_t come_to(const tb_stream *stream, const tb_outbox_known *known)
{
	int present = known == &stream->outboxes[stream->outbox_count - 1];
	return known->place - 1 - (TB_PLANTED(20) && known->place > 1) + ((present ? stream->gathered : known->upto) + 1 - known->first);
}

static int same_journal(const tb_broker *broker, const Tb__HelloRequest *request)
{
	return tb_span_equal(tb_span_of(request->journal_id.data, request->journal_id.len),
	                     tb_span_of(tb_journal_id(broker->journal), TB_JOURNAL_ID));
}

/* The first number that it can publish. */
static uint64_t next_of(const Tb__HelloRequest *request)
{
	return request->first > 0 ? request->first : request->last + 1;
}

static tb_rc undecided(const Tb__HelloRequest *request, uint64_t from, uint64_t to, tb_err *err)
{
	tb_fail(err, TB_EUNSUPPORTED,
	        "this outbox of stream %s holds events that it numbered %llu..%llu, and nothing is left that says whether they "
	        "were published",
	        request->stream, (unsigned long long)(from + request->shift), (unsigned long long)(to + request->shift));
	tb_hint(err, "compare them with what tb events shows; then move the outbox file away and keep it: the stream goes on in "
	             "a new one");
	return TB_EUNSUPPORTED;
}

static tb_rc held_by_nobody(const Tb__HelloRequest *request, uint64_t from, uint64_t to, tb_err *err)
{
	return tb_fail(err, TB_EUNSUPPORTED, "events %llu..%llu of stream %s are held by nobody; not in this version",
	               (unsigned long long)from, (unsigned long long)to, request->stream);
}

/* Of an outbox whose earlier epochs are not known here. In the same journal they were forgotten, behind many others; else
 * the journal was lost, and what it numbered keeps its numbers. */
static tb_rc unknown_terms(const tb_broker *broker, const Tb__HelloRequest *request, uint64_t known, tb_terms *ret_terms,
                           tb_err *err)
{
	uint64_t ground = request->ground + request->shift;
	uint64_t next = next_of(request);
	uint64_t has = known < ground ? known : ground;
	if (same_journal(broker, request)) {
		if (request->delivered < request->ground)
			return undecided(request, request->delivered + 1, request->ground, err);
		*ret_terms = (tb_terms){ known + 1, request->ground + 1, 0 };
		return TB_OK;
	}
	if (next > known + 1)
		return held_by_nobody(request, known + 1, next - 1, err);
	if (has > request->delivered + request->shift)
		return undecided(request, request->delivered + 1, has - request->shift, err);
	*ret_terms = (tb_terms){ known + 1, has - request->shift + 1, 0 };
	return TB_OK;
}

static tb_rc check_sense(const Tb__HelloRequest *request, tb_err *err)
{
	uint64_t next = next_of(request);
	int sound = request->last <= TB_NUMBER_MAX && request->shift < next && next <= request->last + 1 &&
	            request->ground <= request->last - request->shift && request->delivered <= TB_NUMBER_MAX &&
	            request->renewal.len == TB_ID;
	return sound ? TB_OK : tb_fail(err, TB_EINVAL, "stream %s: the numbers of its hello make no sense", request->stream);
}

tb_rc tb_terms_again(const tb_stream *stream, const Tb__HelloRequest *request, tb_err *err)
{
	if (next_of(request) <= stream->gathered + 1)
		return TB_OK;
	return held_by_nobody(request, stream->gathered + 1, next_of(request) - 1, err);
}

tb_rc tb_terms_find(const tb_broker *broker, const tb_stream *stream, const Tb__HelloRequest *request,
                    tb_terms *ret_terms, tb_err *err)
{
	tb_terms terms = { .first = 1, .place = 1 };
	uint64_t known = stream != NULL ? stream->gathered : 0;
	tb_rc rc = check_sense(request, err);
	if (rc != TB_OK)
		return rc;
	const tb_outbox_known *outbox = find(stream, request->outbox.data);
	uint64_t held = next_of(request) - request->shift;
	if (outbox != NULL) {
		uint64_t come = come_to(stream, outbox);
		terms = (tb_terms){ known + 1, (come < request->ground ? come : request->ground) + 1, come > request->ground && !TB_PLANTED(23) };
		terms.first -= TB_PLANTED(19) && known > 0;
	} else if (request->ground == 0) {
		terms.first = known + 1;
	} else {
		rc = unknown_terms(broker, request, known, &terms, err);
	}
	if (rc == TB_OK && terms.place < held)
		rc = held_by_nobody(request, terms.place + request->shift, held - 1 + request->shift, err);
	if (rc == TB_OK)
		*ret_terms = terms;
	return rc;
}

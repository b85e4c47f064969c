#include "unit/reset_room.h"

#include "base/log.h"

static void quiet(void)
{
	tb_log_open("test", TB_LOG_ERROR);
}

TestSuite(reset, .init = quiet);

/* ---- scripts: what a publisher says and what happens around it, a letter each
 *
 *   a..z   puts another value under that key      -a     removes it          (ab-c) deltas of one event
 *   #      deltas that put all keys               <  >   begin, commit       *  an event of another kind
 *   ?      deltas of which one breaks a rule      L      a lost range        |  the frame goes, in a turn of its own
 *   /      the next frame is of another epoch     !      the collector is killed and opened again
 *   F      a full backup is ordered               ,      the open segment is cut
 *   [  ]   the frames between were accepted inside a reset     %   the next frame is apart from what was before
 *   .      everything is sealed, manifested and stored */

static struct change change_of(const char **at)
{
	int remove = **at == '-';
	*at += remove;
	return (struct change){ (size_t)(*(*at)++ - 'a'), remove ? 0 : ++line.values };
}

static void say_deltas(const char **at)
{
	struct made made = { .kind = MADE_DELTAS };
	for (++*at; **at != ')';)
		made.changes[made.count++] = change_of(at);
	++*at;
	add_event(&made);
}

static void say_all(void)
{
	struct made made = { .kind = MADE_DELTAS, .count = PLACES };
	for (size_t i = 0; i < PLACES; i++)
		made.changes[i] = (struct change){ i, ++line.values };
	add_event(&made);
}

static void say_one(const char **at)
{
	struct made made = { .kind = MADE_DELTA, .count = 1 };
	made.changes[0] = change_of(at);
	add_event(&made);
}

static void happen(char what)
{
	switch (what) {
	case '|':
		send_frame();
		break;
	case '/':
		new_epoch();
		break;
	case '[':
	case ']':
		set_inside(what == '[');
		break;
	case '%':
		set_apart();
		break;
	case '!':
		restart();
		break;
	case 'F':
		send_frame();
		order_full();
		break;
	case ',':
		send_frame();
		cut_now();
		break;
	case '.':
		work_off();
		break;
	default:
		cr_assert_eq(what, ' ', "what is '%c'?", what);
	}
}

static void play(const char *script)
{
	static const struct {
		char letter;
		enum made_kind kind;
	} plain[] = { { '<', MADE_BEGIN }, { '>', MADE_COMMIT }, { '*', MADE_OTHER }, { '?', MADE_BROKEN },
	            { 'L', MADE_LOST } };
	while (*script != '\0') {
		size_t i = 0;
		while (i < 5 && plain[i].letter != *script)
			i++;
		if (i < 5) {
			add_event(&(struct made){ .kind = plain[i].kind });
			script++;
		} else if (*script == '(') {
			say_deltas(&script);
		} else if (*script == '#') {
			say_all();
			script++;
		} else if (*script == '-' || (*script >= 'a' && *script <= 'z')) {
			say_one(&script);
		} else {
			happen(*script++);
		}
	}
}

static void check_script(const char *script)
{
	line_begin(1);
	play(script);
	work_off();
	check_everywhere(script);
	line_end();
}

static void check_scripts(const char *const *scripts)
{
	for (; *scripts != NULL; scripts++)
		check_script(*scripts);
}

#define CHECK(...) check_scripts((const char *const[]){ __VA_ARGS__, NULL })

Test(reset, deltas_of_one_event_are_applied_whole)
{
	CHECK("(abc)(c-a)(aba)-b(b-bb)", "(ab)|(-a-b)|(-a)", "ab(a-ab)", "<(abc)-a>", "(abc),(d-a)F|.(ef-c)");
}

Test(reset, an_event_with_one_bad_delta_changes_nothing)
{
	CHECK("ab?c", "(ab)?", "?a|?b", "<a?b>c");
}

Test(reset, nothing_shows_before_the_commit_and_all_that_was_before_is_gone_then)
{
	CHECK("abc<de>f", "abc|<|d|e|>|f", "abc<>d", "<>", "abc<-a-ba>-a", "abc<(abd-a)e,f>g,h", "a<b>c<d>e<>f<g>");
}

Test(reset, a_new_begin_discards_what_was_open)
{
	CHECK("ab<cd<ef>g", "ab<cd|<ef|>g", "<a<b<c>d", "ab<cd,<ef,>g", "ab<c<");
}

Test(reset, another_epoch_discards_what_was_open)
{
	CHECK("ab<cd/e", "ab<cd/ef>g", "ab<cd/<ef>g", "a<b//c", "a/b<c>d/e", "ab<cd/-a?", "ab<cd,/>>e", "ab<cd/*<e>f");
}

Test(reset, what_was_accepted_inside_one_goes_on_under_another_epoch)
{
	CHECK("ab<c/[de>]f", "ab<c/[d/e>]f", "ab<[c/d,>]e", "ab<[c]/d", "ab<c/[d]e", "a<b/[c!d>]e", "a<[b/c.F>].d", "a<b/[<c>]d");
}

Test(reset, what_is_apart_discards_what_was_open)
{
	CHECK("ab<cd%ef", "ab<[cd]%ef", "ab%<[cd>]e", "ab<c%*|e", "ab<c%>|e", "ab<cd%,e>f", "a<b%?c", "a<b.F%c.d", "a<b%<c>d");
}

Test(reset, the_rest_of_a_discarded_one_is_rejected)
{
	CHECK("ab<c/%[de>]f", "ab<[c]/d/[e>]f", "a/[bcd>]e", "a/[b*(cd)-a]e", "a<[b]%c[d>]e.f", "a<b%[c<d>]e", "a/[b],F[c>].d");
}

Test(reset, an_open_one_survives_the_collector)
{
	CHECK("ab<cd!ef>g", "ab<cd!/ef>g", "ab<cd>!ef", "ab<cd>!<e!f>!g", "ab<c!<d!>e", "ab<cd!", "ab<cd>!e!f<g>!h!i",
	      "a<bc!-b>!<d!,>");
}

Test(reset, a_backup_is_exact_wherever_resets_begin_and_end)
{
	CHECK("abc<deF|fg>h.ij", "abc<deF|.fg>h", "abcF|<de.>fg", "abc<de>F|f.", "abc<deF|/fg.h", "abc<deF|<fg>h.i",
	      "ab<cF.d>eF.", "ab<cF.dF.e>F.<f", "ab<cF|!d|!e>f.", "aF<b.c>d");
}

/* The state is of several chunks, of which each turn reads one. */
Test(reset, a_backup_may_read_before_and_after_a_commit)
{
	CHECK("#F|a|<|(abxyz)|>|b.-a", "#|<#|F|>|a|b.", "#F|<|(ay)|>|<(bz)|>|.", "#<#F|a|>|b|c.", "#F|<#|>|!a|.b",
	      "#F|<|#|/a|b.", "#<(az)|F|z|>|(az).");
}

static const Tb__ManifestFrame *full_manifest(void)
{
	for (size_t i = noted_count(TB_KIND_MANIFEST); i-- > 0;)
		if (strcmp(manifest_frame_at(i)->type, "FULL") == 0)
			return manifest_frame_at(i);
	return NULL;
}

Test(reset, a_backup_begun_within_one_is_replayed_from_its_begin)
{
	static const struct {
		const char *script;
		uint64_t from;
	} rows[] = {
		{ "abcF|.", 4 },      { "abc<deF|.", 4 }, { "abc<de<fF|g>h.", 7 }, { "abc<de>F|f.", 8 },
		{ "abc<de/fF|.", 8 }, { "abF|<cd.", 3 },  { "ab<cd!F|.", 3 },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		line_begin(1);
		play(rows[i].script);
		cr_assert_eq(full_manifest()->from, rows[i].from, "%s: from %d", rows[i].script, (int)full_manifest()->from);
		line_end();
	}
}

Test(reset, what_can_not_be_taken_is_among_the_rejected_numbers)
{
	line_begin(1);
	play("a>b<c/d>?e<f>>L,");
	const Tb__Cut *cut = cut_at(0);
	cr_assert_eq(cut->n_rejected, line.rejected_count);
	cr_assert_eq(line.rejected_count, 5);
	cr_assert_eq(memcmp(cut->rejected, line.rejected, 5 * sizeof(uint64_t)), 0);
	line_end();
}

/* ---- any history */

static void say_at_random(void)
{
	static const enum made_kind kinds[] = { MADE_DELTA, MADE_DELTA, MADE_DELTA, MADE_DELTA, MADE_DELTAS, MADE_DELTAS,
		                                    MADE_BEGIN, MADE_COMMIT, MADE_OTHER, MADE_BROKEN };
	struct made made = { .kind = kinds[draw(sizeof(kinds) / sizeof(kinds[0]))] };
	if (made.kind == MADE_BEGIN && draw(3) == 0)
		made.kind = MADE_LOST;
	made.count = made.kind == MADE_DELTA || made.kind == MADE_BROKEN ? 1 : made.kind == MADE_DELTAS ? 1 + draw(12) : 0;
	for (size_t i = 0; i < made.count; i++)
		made.changes[i] = (struct change){ draw(PLACES), draw(4) == 0 ? 0 : ++line.values };
	add_event(&made);
}

static void happen_at_random(void)
{
	switch (draw(24)) {
	case 0:
		new_epoch();
		break;
	case 1:
		restart();
		break;
	case 2:
	case 3:
	case 4:
		send_frame();
		order_full();
		break;
	case 5:
	case 6:
		send_frame();
		cut_now();
		break;
	case 7:
		send_frame();
		for (uint64_t count = draw(12); count > 0 && work_once(); count--)
			;
		break;
	case 8:
		say_all();
		break;
	case 9:
	case 10:
	case 11:
	case 12:
		send_frame();
		break;
	default:
		say_at_random();
		work_once();
	}
}

static void check_history(uint64_t seed)
{
	char what[40];
	snprintf(what, sizeof(what), "seed %llu", (unsigned long long)seed);
	fprintf(stderr, "%s\n", what);
	line_begin(seed);
	line.storer_forgets = 3;
	while (line.last < 110)
		happen_at_random();
	work_off();
	check_everywhere(what);
	fprintf(stderr, "%s: %u backups, %zu rejected\n", what, line.orders, line.rejected_count);
	line_end();
}

/* TB_SEED=N is one history, TB_SEEDS=N that many. */
Test(reset, any_history_restores_at_every_number, .timeout = 3000)
{
	const char *seed = getenv("TB_SEED"), *seeds = getenv("TB_SEEDS");
	uint64_t from = seed != NULL ? strtoull(seed, NULL, 10) : 1;
	uint64_t count = seed != NULL ? 1 : seeds != NULL ? strtoull(seeds, NULL, 10) : 2;
	for (uint64_t i = 0; i < count; i++)
		check_history(from + i);
}

#!/usr/bin/env bash
# An engine goes on from a restored state: what it holds and what the backup holds are the same then, before, and after,
# also when the restore that should bring that about is killed.
. "$(dirname "$0")/lib.sh"

reader=$root/tests/golden/read_repository.py
dir=$work/tb
lines=$work/engine.jsonl # what the engine published, from its beginning or from the last state that it was given
base=/dev/null           # which is here

publish()
{
	tb publish --dir "$dir" --engine book --from-line auto --wait stored "$lines" >"$work/published" || return
	cat "$work/published"
}

# more COUNT [OPTION…]: the engine publishes on.
more()
{
	local count=$1
	shift
	made=$((made + count))
	resume.py make 7 $made "$count" "$@" >>"$lines" && publish
}

back_up()
{
	tb backup --dir "$dir" --type full --stream book --wait
}

expected() # [OPTION…]
{
	resume.py digest "$lines" --base "$base" "$@"
}

digest_at() # [OPTION…]
{
	tb restore --dir "$dir" --stream book --to null: --json "$@" 2>/dev/null | json digest
}

holds_what_the_engine_holds()
{
	same "$(digest_at)" "$(expected)"
}

# While all numbers are the lines'.
every_event_comes_back()
{
	local event
	for event in 0 1 2 57 100 151 200 299 300 333 399 400; do
		same "$(digest_at --event $event)" "$(expected --first $event)" || { echo "event $event"; return 1; }
	done
}

# The engine is given the state at an event, and goes on from it.
resume_from() # EVENT
{
	local before
	before=$(digest_at --event "$1")
	rm -f "$work/state.json"
	tb restore --dir "$dir" --stream book --event "$1" --to "json:$work/state.json" --resume --json >"$work/resumed" || return
	same "$(json event <"$work/resumed")" "$1" || return
	commit=$(json commit <"$work/resumed") || return
	base=$work/base.json
	cp "$work/state.json" "$base"
	lines=$work/engine-$commit.jsonl
	: >"$lines"
	echo "note: by the reset of events $(json begin <"$work/resumed")..$commit"
	await 20 stored "$commit" && same "$(digest_at --event "$commit")" "$before" &&
		same "$(digest_at --event $((commit - 1)))" "$(digest_at --event $(($(json begin <"$work/resumed") - 1)))"
}

stored() # EVENT
{
	tb restore --dir "$dir" --stream book --event "$1" --dry-run >/dev/null 2>&1
}

refused_while_the_engine_runs()
{
	local rc=0 engine
	mkfifo "$work/fifo" || return
	tb publish --dir "$dir" --engine book <"$work/fifo" >"$work/engine" 2>&1 &
	engine=$!
	started+=("$engine")
	exec 9>"$work/fifo"
	await 10 has_open "$engine" book.outbox || return
	tb restore --dir "$dir" --stream book --event 100 --resume >"$work/refused" 2>&1 || rc=$?
	exec 9>&-
	wait "$engine"
	cat "$work/refused"
	same $rc 5 && grep -q 'stop the engine first' "$work/refused" && holds_what_the_engine_holds
}

# Without taking its lock, which would be in the way.
has_open() # PID NAME
{
	find "/proc/$1/fd" -lname "*/$2" 2>/dev/null | grep -q .
}

refused_without_a_broker()
{
	local rc=0
	down "$dir" || return
	tb restore --dir "$dir" --stream book --event 100 --resume >"$work/refused" 2>&1 || rc=$?
	cat "$work/refused"
	up "$dir" && same $rc 4 && grep -q 'tb up' "$work/refused" && holds_what_the_engine_holds
}

# Whenever it is killed: the state is the one before, or, if it came to its commit, the restored one. The engine goes on
# with one event, which is laid over the one or the other and over nothing in between.
killed() # SECONDS after it began to publish
{
	local victim before after got
	before=$(expected)
	after=$(digest_at --event "$large")
	tb restore --dir "$dir" --stream book --event "$large" --resume --to null: >/dev/null 2>&1 &
	victim=$!
	rm -f "$dir/outbox/book.resume" # of the one before
	await 20 test -e "$dir/outbox/book.resume" -o ! -e /proc/$victim
	sleep "$1"
	kill -KILL $victim 2>/dev/null
	wait $victim 2>/dev/null
	printf '{"opaque":{"source":"test","data":"%s"}}\n' "$1" >>"$lines"
	publish >/dev/null || return
	got=$(digest_at)
	if [ "$got" = "$before" ]; then
		old=$((old + 1))
		return
	fi
	new=$((new + 1))
	same "$got" "$after" || return
	# The engine's own state is now the restored one.
	tb restore --dir "$dir" --stream book --event "$large" --to "json:$work/base-$new.json" --force >/dev/null 2>&1 || return
	base=$work/base-$new.json
	lines=$work/engine-new-$new.jsonl
	: >"$lines"
}

resets_left_open()
{
	tb events --dir "$dir" --stream book --kind reset --json | python3 -c '
import json, sys
kinds = [json.loads(line)["reset"] for line in sys.stdin]
print(kinds.count("begin") - kinds.count("commit"))'
}

killed_at_any_time()
{
	local after open
	old=0 new=0
	open=$(resets_left_open)
	for after in 0 0.01 0.02 0.04 0.06 0.08 0.1 0.13 0.16 0.2 0.3 0.5 1.5; do
		killed $after || { echo "after $after s"; return 1; }
	done
	echo "note: $old times the state was the old one, $new times the restored one"
	open=$(($(resets_left_open) - open))
	echo "note: $open resets had begun and were never committed"
	# Whether a kill falls between begin and commit depends on the machine; the note says whether one did.
	[ $old -gt 0 ] && more 50 && holds_what_the_engine_holds
}

reader_agrees()
{
	local last event
	last=$(tb restore --dir "$dir" --stream book --to null: --json 2>/dev/null | json event) || return
	for event in 1 100 150 300 "$commit" $((commit - 1)) $((commit + 20)) "$last"; do
		same "$("$reader" "$dir/repository" "$dir/keys/identity.key" book --event "$event" --digest)" \
			"$(digest_at --event "$event")" || { echo "event $event"; return 1; }
	done
}

: >"$lines"
made=0
claim "an instance starts" up "$dir"
claim "an engine publishes deltas and resets" more 200 --resets
claim "a full backup" back_up
claim "the engine publishes on" more 200 --resets
claim "every event comes back" every_event_comes_back
claim "a restore doesn't resume while the engine runs" refused_while_the_engine_runs
claim "nor without a broker" refused_without_a_broker
claim "the state at an event becomes the present one" resume_from 150
claim "the engine goes on from it, with its new lines only" more 120 --resets
claim "the backup holds what the engine holds" holds_what_the_engine_holds
claim "so does a new full one" back_up
claim "which restores to it" holds_what_the_engine_holds
claim "an empty state becomes the present one" resume_from 0
claim "the engine fills it with a larger one" more 3000 --keys 3000 --size 9000
claim "the backup holds that" holds_what_the_engine_holds
large=$(json last <"$work/published")
claim "the engine goes on" more 500 --keys 200 --size 50
claim "a restore that is killed leaves the old state or the new one" killed_at_any_time
claim "the repository is whole" tb verify --dir "$dir"
if /usr/bin/python3 -c 'import nacl.bindings, zstandard' 2>/dev/null; then
	claim "a reader that isn't ours reads the same states" reader_agrees
else
	skip 1 "a reader that isn't ours reads the same states" "no python3-nacl or python3-zstandard for /usr/bin/python3"
fi
claim "it ends" down "$dir"
end

#!/usr/bin/env bash
# Outboxes that are lost, put back older than they were, or left behind by an engine that never returns: with real
# processes. What was accepted and not delivered is published once, behind whatever its stream has come to.
. "$(dirname "$0")/lib.sh"

dir=$work/instance
box=$dir/outbox/book.outbox
tb=$TB_BIN/tb

start()
{
	"$tb" up --dir "$dir" >"$work/up.out" 2>"$work/up.err" &
	up=$!
	for _ in $(seq 600); do
		grep -q '^ready' "$work/up.out" && return 0
		sleep 0.05
	done
	return 1
}
stop()
{
	"$tb" down --dir "$dir" >/dev/null && wait "$up"
}

# lines FROM TO: so many deltas, each with a key of its own.
lines()
{
	for ((i = $1; i <= $2; i++)); do
		echo "{\"time_ns\":$((1700000000000000000 + i)),\"delta\":{\"key\":\"k$i\",\"value\":\"$i\"}}"
	done
}
# publish FROM TO [PROMISE]: prints tb's answer.
publish()
{
	lines "$1" "$2" | "$tb" publish --dir "$dir" --engine book --wait "${3:-durable}"
}
# answers WANTED COMMAND…: its output is exactly that.
answers()
{
	local wanted=$1
	shift
	[ "$("$@" 2>"$work/answers.err")" = "$wanted" ]
}
# refuses CODE TEXT COMMAND…: it ends with that code and says so.
refuses()
{
	local code=$1 text=$2
	shift 2
	"$@" >"$work/refuses.out" 2>&1
	[ $? = "$code" ] && grep -q "$text" "$work/refuses.out"
}
# keys: how many the latest state has, once all that is durable is stored.
all_stored()
{
	publish "$1" "$1" stored >/dev/null
}
state_is()
{
	"$tb" restore --dir "$dir" --stream book --to json:- 2>/dev/null | sed 's/.*"key":"k\([0-9]*\)".*/\1/' | sort -n | tr '\n' ' ' >"$work/keys"
	[ "$(cat "$work/keys")" = "$(seq -s ' ' 1 "$1") " ]
}
hashes_once()
{
	"$tb" events --dir "$dir" --stream book --json | sed 's/.*"key":"\([^"]*\)".*/\1/' | sort | uniq -d >"$work/twice"
	[ ! -s "$work/twice" ]
}

claim "an instance starts" start
claim "an engine publishes" answers '{"published":100,"first":1,"last":100}' publish 1 100

# lost
rm "$box"
claim "a lost outbox is made anew and goes on behind the stream" \
	answers '{"published":10,"first":101,"last":110}' publish 101 110

# an older copy, with the stream further
cp "$box" "$work/older"
claim "it goes on" answers '{"published":20,"first":111,"last":130}' publish 111 130
cp "$work/older" "$box"
claim "an older copy sends nothing again and goes on behind the stream" \
	answers '{"published":5,"first":131,"last":135}' publish 131 135

# accepted while the broker is away, in an older copy
cp "$work/older" "$box"
claim "it ends" stop
claim "the broker being away it is accepted all the same" publish 136 140 accepted
claim "it starts again" start
claim "what an older copy accepted meanwhile takes new numbers" \
	answers '{"stream":"book","published":5,"first":136,"last":140}' "$tb" flush --dir "$dir" --json "$box"
claim "flushed again it has nothing more" \
	answers '{"stream":"book","published":0,"first":0,"last":0}' "$tb" flush --dir "$dir" --json "$box"

# left behind
claim "it ends again" stop
claim "an engine accepts and never returns" publish 141 150 accepted
mv "$box" "$work/left"
claim "it starts once more" start
claim "another outbox goes on" answers '{"published":10,"first":141,"last":150}' publish 151 160
claim "what was left behind is published behind it" \
	answers 'stream book: 10 events of the outbox are published, as 151 to 160' "$tb" flush --dir "$dir" "$work/left"
claim "once" answers 'stream book: the outbox held nothing that the broker hadn'"'"'t' \
	"$tb" flush --dir "$dir" "$work/left"

# refusals
exec 8<"$work/left"
flock 8
claim "it refuses while the engine lives" refuses 5 "open in another process" "$tb" flush --dir "$dir" "$work/left"
exec 8<&-
claim "it says when there is no such file" refuses 3 "no-such" "$tb" flush --dir "$dir" "$work/no-such.outbox"
claim "it makes none" test ! -e "$work/no-such.outbox"
claim "it refuses what is no outbox" refuses 1 "not begin as an outbox" "$tb" flush --dir "$dir" "$TB_BIN/tb"
claim "it wants to be told which" refuses 2 "which outbox" "$tb" flush --dir "$dir"

claim "everything is stored" all_stored 161
claim "the state has it all" state_is 161
claim "no event is there twice" hashes_once
claim "the repository holds what was signed" "$tb" verify --dir "$dir"
claim "it ends in order" stop
claim "without a broker it says so" refuses 4 "has not answered" "$tb" flush --dir "$dir" --timeout 200ms "$box"
end

#!/usr/bin/env bash
# Each process is killed while a recording goes through; at the end everything is there, once and in order.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

recording=$shared/data/book/binance_spot_btcusdt.jsonl.zst
if [ ! -e "$recording" ]; then
	skip 14 "nothing is lost when processes are killed" "no recordings in $shared (TB_SHARED)"
	end
	exit
fi
unpack book book "$recording" || exit
slice=$(($(lines "$work/book.jsonl") / 14))

# The recording at a pace: a slice each half second, so that there is something going on whoever is killed.
pace()
{
	local at
	for ((at = 0; at < 15; at++)); do
		sed -n "$((at * slice + 1)),$(((at + 1) * slice))p" "$work/book.jsonl" || return
		sleep 0.5
	done
}

publish()
{
	pace | tb publish --dir "$work/tb" --engine book --from-line auto --wait stored --json
}

start_publishing()
{
	publish >"$work/published" 2>>"$work/publish.log" &
	publishing=$!
	started+=("$publishing")
	await 20 publisher
}

# The process, not the pipe around it.
publisher()
{
	pgrep -f -- "tb publish --dir $work/tb " >/dev/null
}

# The engine is one of them here.
pid_of()
{
	if [ "$1" = publish ]; then
		pgrep -f -- "tb publish --dir $work/tb " | head -n 1
	else
		pgrep -P "$instance" -x "tb-$1" | head -n 1
	fi
}

# Two slices later it is back, and the others have gone on.
killed() # PROCESS
{
	local before
	before=$(pid_of "$1")
	[ -n "$before" ] || return
	kill -KILL "$before" || return
	if [ "$1" = publish ]; then
		wait "$publishing"
		start_publishing || return
	fi
	await 30 is_another "$1" "$before" && sleep 0.8
}

published_to_the_end()
{
	wait "$publishing" || { tail "$work/publish.log"; return 1; }
	same "$(json last <"$work/published")" "$(lines "$work/book.jsonl")"
}

all_there()
{
	tb events --dir "$work/tb" --stream book --json >"$work/events" || return
	python3 - "$work/book.jsonl" "$work/events" <<'SCRIPT'
import itertools, json, sys
pairs = itertools.zip_longest(open(sys.argv[1]), open(sys.argv[2]))
for number, (line, event) in enumerate(pairs, 1):
    if line is None or event is None:
        sys.exit("%s has only %d lines" % ("the recording" if line is None else "the archive", number - 1))
    line, event = json.loads(line), json.loads(event)
    if event["number"] != number or any(event[name] != line[name] for name in line):
        sys.exit("event %d: published %r, archived %r" % (number, line, event))
SCRIPT
}

restores()
{
	points.py --repo "$work/tb/repository" --key "$work/tb/keys/identity.key" --stream book --by event \
		--events "$work/book.jsonl" --points "$work/book.points"
}

claim "an instance starts" up "$work/tb"
claim "a recording is being published" start_publishing
for process in broker collector sealer storer signal publish; do
	claim "$process is killed and back" killed $process
done
claim "the recording is published to its end" published_to_the_end
claim "every event is there, once and in order" all_there
claim "a full backup becomes ready" tb backup --dir "$work/tb" --type full --stream book --wait
claim "every checkpoint comes back" restores
claim "the repository is whole" tb verify --dir "$work/tb"
claim "it ends" down "$work/tb"
end

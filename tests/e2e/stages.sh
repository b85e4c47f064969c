#!/usr/bin/env bash
# No process takes more than 64 MB for small events and recordings, no worker for values of 16 MiB (the broker does: see
# docs/decisions/0014), and each stage reaches the last number. stages.sh --long takes more events, and a whole recording.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

bench=$(dirname "$TB_BIN")/bench/bench-stages
long=0
[ "${1:-}" != --long ] || long=1

# measure NAME OPTION…: what bench-stages says goes to $work/NAME.json.
measure()
{
	local name=$1
	shift
	"$bench" --bin "$TB_BIN" --dir "$work" --json "$@" >"$work/$name.json" 2>"$work/$name.err" ||
		{ cat "$work/$name.err" "$work/$name.json"; return 1; }
	python3 -c '
import json, sys
run = json.load(open(sys.argv[1]))
for p in run["processes"]:
    print("note: %-14s %5.1f MB" % (p["name"], p["peak"] / 1e6))
' "$work/$name.json"
}

# consistent NAME: there are figures of all processes and stages, and they fit together.
consistent()
{
	python3 -c '
import json, sys
run = json.load(open(sys.argv[1]))
peaks = {p["name"]: p for p in run["processes"]}
roles = {"tb-broker", "tb-storer", "tb-collector", "tb-sealer", "tb-signal", "tb up", "engine"}
assert roles <= set(peaks), sorted(peaks)
for name, p in peaks.items():
    assert 1e6 < p["anonymous"] + p["files"] == p["peak"], (name, p)
    assert 0 < p["anonymous"] <= p["hwm"] * 1.2, (name, p)
rates = []
for stage in ("accepted", "durable", "applied", "stored"):
    assert run["stages"][stage]["last"] == run["events"] > 0, (stage, run)
    rates.append(run["stages"][stage]["events_per_second"])
assert min(rates) > 0, rates
assert run["published_bytes"] > run["events"] and run["stored_bytes"] > 0, run
' "$work/$1.json" || { cat "$work/$1.json"; return 1; }
}

# Values of 16 MiB: those that handle a message at a time. The broker's batch and queues are bounded by other numbers, and
# the engine's outbox is as large as it was made.
large()
{
	measure large --value 16MiB --events 6 --keys 3 --bound 1GB || return
	python3 -c '
import json, sys
roles = {"tb-collector", "tb-sealer", "tb-storer", "tb-signal", "tb up"}
peaks = [p for p in json.load(open(sys.argv[1]))["processes"] if p["name"] in roles]
assert len(peaks) == len(roles) and all(p["peak"] <= 64e6 for p in peaks), peaks
' "$work/large.json"
}

# A bound that can't be kept is noticed.
tight()
{
	! "$bench" --bin "$TB_BIN" --dir "$work" --json --events 100 --bound 1MiB >"$work/tight.json" 2>&1 &&
		grep -q '"bound":1048576' "$work/tight.json"
}

recorded()
{
	local file
	file=$(find "$shared/data/book" -name '*.jsonl.zst' -printf '%s %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2)
	echo "note: $(basename "$file")"
	unpack book book "$file" && measure book --file "$work/book.jsonl" --events $((long ? 1000000000 : 150000))
}

claim "no process takes more than 64 MB for small events" measure small --events $((long ? 5000000 : 200000))
claim "each stage reaches the last of them, and the figures fit" consistent small
if [ -d "$shared/data/book" ]; then
	claim "nor for a recording" recorded
	claim "each stage reaches the last of it" consistent book
else
	skip 2 "nor for a recording" "no recordings in $shared (TB_SHARED)"
fi
claim "nor does a worker for values of 16 MiB" large
claim "each stage reaches the last of them" consistent large
claim "what takes more than its bound is noticed" tight
end

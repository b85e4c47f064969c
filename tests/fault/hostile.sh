#!/usr/bin/env bash
# Whatever comes in at the sockets: no process dies or grows by it, an engine that publishes meanwhile loses nothing and
# is not much slower, and what was not taken is counted and shown. TB_HOSTILE is tests/fault/hostile.c, compiled.
. "$(dirname "$0")/../e2e/lib.sh"

hostile=${TB_HOSTILE:-$TB_BIN/../tests/tb-hostile}
resident_max=64 # MiB of its own that a process may have when it is over
slower_max=20   # times as long as an undisturbed publishing, or …
slower_least=10 # … so many seconds: that a listener has fallen deaf is noticed within four, and then there is back-off
events=50000
rounds=0

attacks=(garbage lengths kinds numbers epochs flood large silent fleeting peers halves requests takes waits fetches puts
	forgeries orders members hoarder hellos impostors questions listeners)

if [ ! -x "$hostile" ]; then
	skip $((${#attacks[@]} + 8)) "nothing that comes in disturbs it" "there is no $hostile (ninja tb-hostile, or TB_HOSTILE)"
	end
	exit
fi

# 50,000 events, 5,000 keys: each round writes each key ten times.
make_events() # ROUND
{
	awk -v round="$1" -v events=$events 'BEGIN {
		for (i = 0; i < events; i++)
			printf "{\"delta\":{\"key\":\"key:%d\",\"value\":\"%d.%d\"}}\n", i % 5000, round, i
	}'
}

digest() # ROUND: of the state behind it
{
	awk -v round="$1" -v events=$events 'BEGIN {
		for (i = events - 5000; i < events; i++)
			printf "key:%d=%d.%d\n", i % 5000, round, i
	}' | sort -t= -k1,1 | sha256sum | cut -d' ' -f1
}

now_ms()
{
	date +%s%3N
}

publish_round()
{
	local begun
	rounds=$((rounds + 1))
	make_events $rounds >"$work/events.jsonl"
	begun=$(now_ms)
	timeout 60 tb publish --dir "$work/tb" --engine victim --json <"$work/events.jsonl" >"$work/published" || return
	took=$(($(now_ms) - begun))
	same "$(json last <"$work/published")" $((rounds * events))
}

processes()
{
	pgrep -P "$instance" | sort
}

resident() # PID, MiB
{
	awk '/^RssAnon/ { print int($2 / 1024) }' "/proc/$1/status"
}

all_small()
{
	local pid
	for pid in $(processes); do
		if [ "$(resident "$pid")" -gt $resident_max ]; then
			echo "$(cat "/proc/$pid/comm") has $(resident "$pid") MiB"
			return 1
		fi
	done
}

stored_to() # NUMBER
{
	[ "$(tb status --dir "$work/tb" --json | python3 -c '
import json, sys
print([stream["stored"] for stream in json.load(sys.stdin)["streams"] if stream["stream"] == "victim"][0])')" = "$1" ]
}

restores()
{
	tb restore --dir "$work/tb" --stream victim --to null: --json >"$work/restored" 2>"$work/restored.err" || return
	same "$(json event digest <"$work/restored" | paste -sd' ')" "$((rounds * events)) $(digest $rounds)"
}

# withstands ATTACK: while it goes on, engine and instance work; afterwards nobody died, nobody grew, nothing is missing.
withstands()
{
	local attack=$1 before slowest=0 most pid
	before=$(processes)
	publish_round || return
	most=$((took * slower_max > slower_least * 1000 ? took * slower_max : slower_least * 1000))
	timeout 60 "$hostile" "$attack" "$work/tb" victim >"$work/attack" 2>&1 &
	pid=$!
	while :; do
		publish_round || return
		[ $took -le $slowest ] || slowest=$took
		kill -0 $pid 2>/dev/null || break
		sleep 0.5
	done
	wait $pid || { cat "$work/attack"; return 1; }
	if [ $slowest -gt $most ]; then
		echo "$events events took $slowest ms meanwhile, at most $most are expected"
		return 1
	fi
	same "$(processes)" "$before" || return
	await 60 all_small && await 60 stored_to $((rounds * events)) && restores || return
	echo "note: $(json sent <"$work/attack") sent; $events events took $slowest ms at most meanwhile"
}

# What each of the attacks has made it count.
counted()
{
	local cause
	tb status --dir "$work/tb" --json >"$work/status"
	tb status --dir "$work/tb" >"$work/status.txt"
	for cause in 'no frames' 'wrong kinds' 'no events' 'senseless requests' 'unknown streams' 'other epochs' \
		'other numbers' 'refused requests'; do
		python3 -c 'import json, sys; sys.exit(json.load(open(sys.argv[1]))["refused"].get(sys.argv[2], 0) < 1)' \
			"$work/status" "$cause" || { echo "nothing counted as: $cause"; json refused <"$work/status"; return 1; }
		grep -q "^refused .*$cause: [0-9]" "$work/status.txt" || { echo "not shown: $cause"; return 1; }
	done
	grep '^refused ' "$work/status.txt"
}

stays_inside()
{
	[ ! -e /tmp/tb-hostile-was-here ] || { echo "a path led out of the repository"; return 1; }
	tb verify --dir "$work/tb" --quick
}

is_private()
{
	same "$(stat -c %a "$work/tb/run")" 700 || return
	local socket
	for socket in "$work/tb/run"/*.ipc; do
		same "$(stat -c %a "$socket")" 600 || return
	done
}

# Names of strangers don't become streams for ever.
refuses_streams()
{
	local count
	count=$(tb status --dir "$work/tb" --json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["streams"]))')
	[ "$count" -le 50 ] || { echo "there are $count streams, and streams.max is 50"; return 1; }
	tb status --dir "$work/tb" --json | json degraded warnings | grep -q 'streams.max' ||
		{ echo "status doesn't say that there are many streams"; return 1; }
}

# A worker's lies can cost the stream that it lies about, and no other; and that is told.
lies_are_told()
{
	local before pid
	before=$(processes)
	timeout 60 "$hostile" sealer "$work/tb" victim >"$work/attack" 2>&1 &
	pid=$!
	while kill -0 $pid 2>/dev/null; do
		publish_round || return
		sleep 0.3
	done
	wait $pid || { cat "$work/attack"; return 1; }
	printf '{"delta":{"key":"a","value":"1"}}\n' | timeout 30 tb publish --dir "$work/tb" --engine bystander --wait stored || return
	same "$(processes)" "$before" || return
	await 60 all_small || return
	await 60 told_of_lies
}

told_of_lies()
{
	! tb status --dir "$work/tb" >"$work/status.txt" &&
		grep -E '^degraded: (storer: critical|collector: .* rejected|storer: .* rejected|victim)' "$work/status.txt"
}

mkdir "$work/tb" && rmdir "$work/tb"
claim "an instance is made" tb init --dir "$work/tb"
printf 'streams.max: 50\n' >>"$work/tb/tb.yaml"
claim "it starts" up "$work/tb"
claim "its sockets are nobody else's" is_private
printf '{"delta":{"key":"a","value":"0"}}\n' | tb publish --dir "$work/tb" --engine bystander --wait stored >/dev/null
for attack in "${attacks[@]}"; do
	claim "$attack" withstands "$attack"
done
claim "what was not taken is counted and shown, by cause" counted
claim "no path led elsewhere, and the repository is whole" stays_inside
claim "streams are bounded, and status says so" refuses_streams
claim "a sealer that lies" lies_are_told
claim "it ends" down "$work/tb"
end

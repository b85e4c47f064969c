#!/usr/bin/env bash
# tests/e2e/hostile.sh [--long | ATTACK…]: whatever comes in at the sockets, no process dies or grows by it, an engine
# that publishes meanwhile loses nothing, and what was not taken is counted and shown. Attacks of one kind are made at
# once; each alone with --long, or those that are named. They are tests/fault/hostile.c, compiled: TB_HOSTILE.
. "$(dirname "$0")/lib.sh"

hostile=${TB_HOSTILE:-$TB_BIN/../tests/tb-hostile}
resident_max=64 # MiB of its own that a process may have when it is over, as docs/OPERATING.md promises
events=50000
rounds=0

groups=(
	"frames that are none: garbage lengths kinds"
	"frames of others: numbers epochs"
	"floods: flood large"
	"connections: silent fleeting peers halves"
	"requests: requests takes fetches hellos impostors questions"
	"requests that wait: waits listeners burdens"
	"puts: puts orders members"
	"puts under other members' leases: forgeries hoarder"
)
all=1
case ${1:-} in
'') ;;
--long)
	# shellcheck disable=SC2046 # names
	mapfile -t groups < <(printf '%s\n' $(printf '%s\n' "${groups[@]#*:}") | sed 's/.*/&: &/')
	;;
*)
	all=0
	mapfile -t groups < <(printf '%s\n' "$@" | sed 's/.*/&: &/')
	;;
esac

if [ ! -x "$hostile" ]; then
	skip $((${#groups[@]} + 7)) "nothing that comes in disturbs it" "there is no $hostile (ninja tb-hostile, or TB_HOSTILE)"
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

publish_round()
{
	local begun
	rounds=$((rounds + 1))
	make_events $rounds >"$work/events.jsonl"
	begun=$(date +%s%3N)
	timeout 120 tb publish --dir "$work/tb" --engine victim --json <"$work/events.jsonl" >"$work/published" || return
	took=$(($(date +%s%3N) - begun))
	same "$(json last <"$work/published")" $((rounds * events))
}

processes()
{
	pgrep -P "$instance" | sort
}

resident() # PID, MiB of its own: mapped files aside, which the kernel takes back when it needs the room
{
	awk '/^RssAnon/ { print int($2 / 1024) }' "/proc/$1/status"
}

large()
{
	local pid
	for pid in $(processes); do
		[ "$(resident "$pid")" -le $resident_max ] || echo "$(cat "/proc/$pid/comm") has $(resident "$pid") MiB"
	done
}

all_small()
{
	[ -z "$(large)" ]
}

# What was given up is given back within ten seconds.
gets_small()
{
	await 60 all_small && return
	large
	return 1
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

# attack NAME…: those, at once; the engine publishes until they are over.
attack()
{
	local name pid
	local -A pids=()
	slowest=0
	for name in "$@"; do
		timeout 120 "$hostile" "$name" "$work/tb" victim >"$work/attack-$name" 2>&1 &
		pids[$name]=$!
	done
	for name in "${!pids[@]}"; do
		pid=${pids[$name]}
		while :; do
			publish_round || return
			[ "$took" -le "$slowest" ] || slowest=$took
			kill -0 "$pid" 2>/dev/null || break
			sleep 0.3
		done
		wait "$pid" || { echo "$name couldn't be done:" && cat "$work/attack-$name"; return 1; }
	done
}

# withstands ATTACK…: afterwards nobody died, nobody grew, nothing is missing.
withstands()
{
	local before
	before=$(processes)
	attack "$@" || return
	same "$(processes)" "$before" || return
	gets_small && await 120 stored_to $((rounds * events)) && restores || return
	echo "note: $(cat "${@/#/$work/attack-}" | json_sum sent) sent; $events events took $slowest ms at most meanwhile"
}

json_sum() # FIELD: over the lines
{
	python3 -c 'import json, sys; print(sum(json.loads(line)[sys.argv[1]] for line in sys.stdin))' "$1"
}

# What each of the attacks has made it count.
counted()
{
	local cause
	tb status --dir "$work/tb" --json >"$work/status"
	tb status --dir "$work/tb" >"$work/status.txt"
	for cause in 'no frames' 'wrong kinds' 'no events' 'senseless requests' 'unknown streams' 'other epochs' \
		'other numbers' 'fenced requests' 'refused requests'; do
		python3 -c 'import json, sys; sys.exit(json.load(open(sys.argv[1]))["refused"].get(sys.argv[2], 0) < 1)' \
			"$work/status" "$cause" || { echo "nothing counted as: $cause"; json refused <"$work/status"; return 1; }
		grep -q "^refused .*$cause: [0-9]" "$work/status.txt" || { echo "not shown: $cause"; return 1; }
	done
	sed -n 's/^refused /note: refused /p' "$work/status.txt"
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
	local before
	before=$(processes)
	attack sealer || return
	printf '{"delta":{"key":"a","value":"1"}}\n' |
		timeout 60 tb publish --dir "$work/tb" --engine bystander --wait stored || return
	same "$(processes)" "$before" || return
	gets_small && await 120 told_of_lies
}

told_of_lies()
{
	! tb status --dir "$work/tb" >"$work/status.txt" &&
		grep -E '^degraded: (storer: critical|collector: .* rejected|storer: .* rejected|victim)' "$work/status.txt"
}

start()
{
	tb init --dir "$work/tb" && printf 'streams.max: 50\nlease: 5s\n' >>"$work/tb/tb.yaml" && up "$work/tb" &&
		printf '{"delta":{"key":"a","value":"0"}}\n' | tb publish --dir "$work/tb" --engine bystander --wait stored
}

claim "it starts" start
claim "its sockets are nobody else's" is_private
for group in "${groups[@]}"; do
	# shellcheck disable=SC2086 # names
	claim "${group%%:*}" withstands ${group#*:}
done
if [ $all -eq 1 ]; then
	claim "what was not taken is counted and shown, by cause" counted
	claim "streams are bounded, and status says so" refuses_streams
	claim "a sealer that lies" lies_are_told
fi
claim "no path led elsewhere, and the repository is whole" stays_inside
claim "it ends" down "$work/tb"
end

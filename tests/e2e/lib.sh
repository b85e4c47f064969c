# shellcheck shell=bash
# What the scripts of this folder share. Each of them shows some claims about the built programs and can be run alone:
#   tests/e2e/cli.sh
# Programs come from TB_BIN (build/bin), recordings from TB_SHARED (../shared beside the repository). What a script makes
# is below a folder of its own, gone at the end unless TB_KEEP is set.
set -u
export LC_ALL=C.UTF-8

# shellcheck disable=SC2034 # for the scripts
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here=$root/tests/e2e
TB_BIN=${TB_BIN:-$root/build/bin}
shared=${TB_SHARED:-$root/../shared}
script=$(basename "$0" .sh)
work=$(mktemp -d "${TMPDIR:-/tmp}/tb-$script.XXXXXX") || exit 1
PATH=$TB_BIN:$here:$PATH
unset TB_DIR
passed=0 failed=0 skipped=0
started=() # of our processes, by pid

if [ ! -x "$TB_BIN/tb" ]; then
	echo "$script: there is no $TB_BIN/tb: build it first, with deploy/build" >&2
	exit 1
fi

# claim TEXT COMMAND…: TEXT holds when COMMAND succeeds. What it printed is shown when it doesn't; a line `note: …` always.
claim()
{
	local text=$1 begun=$SECONDS rc=0 took
	shift
	"$@" >"$work/claim.out" 2>&1 || rc=$?
	took=$((SECONDS - begun))
	if [ $rc -eq 0 ]; then
		passed=$((passed + 1))
		printf 'ok    %s%s\n' "$text" "$([ $took -lt 2 ] || echo " ($took s)")"
		sed -n 's/^note: /      /p' "$work/claim.out"
	else
		failed=$((failed + 1))
		printf 'FAIL  %s (exit code %d)\n' "$text" $rc
		tail -n 25 "$work/claim.out" | sed 's/^/      | /'
	fi
	return $rc
}

# skip COUNT TEXT WHY: so many claims can't be shown here.
skip()
{
	skipped=$((skipped + $1))
	printf 'SKIP  %s: %s\n' "$2" "$3"
}

# end: says the result; the script's last command.
end()
{
	printf '%s: %d passed, %d failed, %d skipped\n' "$script" $passed $failed $skipped
	[ $failed -eq 0 ]
}

# ends PID: TERM, then KILL after 20 s.
ends()
{
	local i
	kill -TERM "$1" 2>/dev/null || return 0
	for ((i = 0; i < 200; i++)); do
		kill -0 "$1" 2>/dev/null || return 0
		sleep 0.1
	done
	kill -KILL "$1" 2>/dev/null
}

# Invoked by trap.
# shellcheck disable=SC2329,SC2317
leave()
{
	local pid
	for pid in "${started[@]}"; do
		ends "$pid"
	done
	if [ -n "${TB_KEEP:-}" ]; then
		echo "$script: kept $work" >&2
	else
		rm -rf "$work"
	fi
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# spawn COMMAND…: in the background, ended with the script. Its pid is in $! and $spawned.
spawn()
{
	"$@" &
	spawned=$!
	started+=("$spawned")
}

# await SECONDS COMMAND…: until COMMAND succeeds.
await()
{
	local until=$((SECONDS + $1))
	shift
	until "$@"; do
		if [ $SECONDS -ge $until ]; then
			echo "not within the time allowed: $*" >&2
			return 1
		fi
		sleep 0.1
	done
}

# up DIR [OPTION…]: starts an instance (made when there is none) and waits until it is ready. Its pid is in $instance.
up()
{
	local dir=$1
	shift
	: >"$dir.up"
	spawn tb up --dir "$dir" "$@" >"$dir.up" 2>>"$dir.log"
	instance=$spawned
	if ! await 30 grep -q '^ready ' "$dir.up"; then
		tail -n 20 "$dir.log" "$dir"/logs/* >&2
		return 1
	fi
}

# down DIR: ends it as an operator would.
down()
{
	tb down --dir "$1" && wait "$instance"
}

# pid_of NAME: of that process of the instance.
pid_of()
{
	pgrep -P "$instance" -x "tb-$1" | head -n 1
}

# is_another NAME PID: there is one, and it isn't PID any more.
is_another()
{
	local pid
	pid=$(pid_of "$1")
	[ -n "$pid" ] && [ "$pid" != "$2" ]
}

# json FIELD…: those fields of the JSON object on stdin, each on a line; nested ones as a.b.
json()
{
	python3 -c '
import json, sys
record = json.load(sys.stdin)
for name in sys.argv[1:]:
    value = record
    for part in name.split("."):
        value = value[part]
    print(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
' "$@"
}

# same A B: they are equal.
same()
{
	[ "$1" = "$2" ] && return
	echo "expected: $2"
	echo "got:      $1"
	return 1
}

# unpack NAME MODE FILE: FILE as JSON lines for `tb publish` in $work/NAME.jsonl, its checkpoints in $work/NAME.points.
unpack()
{
	"$shared/tools/recording-to-events" "$2" "$3" --checkpoints "$work/$1.points" >"$work/$1.jsonl"
}

# lines FILE: how many.
lines()
{
	wc -l <"$1" | tr -d ' '
}

#!/usr/bin/env bash
# Power cuts of the whole host: an instance and its engine on an ext4 of their own, which loses its power under load. What
# had been told as durable and stored is there when it comes back, nobody helps, and in the end each event is there, once
# and in order.
#   tests/e2e/powercut.sh [--long]
# The cut is ext4's own ioctl: from that moment nothing reaches the disk, neither data nor the file system's journal.
# shellcheck source-path=SCRIPTDIR
[ "${TB_POWERCUT_ALONE:-}" = 1 ] || ! unshare -m true 2>/dev/null || TB_POWERCUT_ALONE=1 exec unshare -m "$0" "$@"
. "$(dirname "$0")/lib.sh"
trap 'umount -l "$work/disk" 2>/dev/null; leave' EXIT

rounds=3 claims=3
if [ "${1:-}" = --long ]; then
	rounds=25
fi
instance=0 publishing=0 told_durable=0 told_stored=0

# A disk, and a boot id that can change: both only for us, and gone with us.
prepare()
{
	[ "${TB_POWERCUT_ALONE:-}" = 1 ] || { echo "no mounts of our own: that takes root"; return 1; }
	truncate -s 3G "$work/image" && mkfs.ext4 -q -F "$work/image" && mkdir "$work/disk" || return
	plug_in && cut_power && umount "$work/disk" && boot && plug_in || return
	mount --bind "$work/boot_id" /proc/sys/kernel/random/boot_id
}

plug_in()
{
	mount -o loop "$work/image" "$work/disk"
}

boot()
{
	cat /proc/sys/kernel/random/uuid >"$work/boot_id"
}

cut_power()
{
	python3 - "$work/disk" <<'SCRIPT'
import fcntl, os, struct, sys
shutdown, without_log = 0x8004587D, 2
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), shutdown, struct.pack("I", without_log))
SCRIPT
}

# The engine's input: line N is event N. PAUSE: seconds after each 100, so that a load goes on and fills no disk.
input() # FROM TO [PAUSE]
{
	python3 - "$1" "$2" "${3:-0}" <<'SCRIPT'
import sys, time
first, last, pause = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
try:
    for number in range(first, last + 1):
        if pause > 0 and number % 100 == 0:
            sys.stdout.flush()
            time.sleep(pause)
        print('{"delta":{"key":"k%d","value":"%d %s"}}' % (number * 7 % 211, number, "x" * (number % 300)))
except BrokenPipeError:
    pass
SCRIPT
}

publish() # FROM TO PAUSE OPTION…
{
	local from=$1 to=$2 pause=$3
	shift 3
	input "$from" "$to" "$pause" | tb publish --dir "$work/disk/tb" --engine book "$@"
}

# "durable stored" of the stream, as the broker says; 0 0 when it doesn't know it.
numbers()
{
	tb status --dir "$work/disk/tb" --json 2>/dev/null | python3 -c '
import json, sys
found = [s for s in json.load(sys.stdin)["streams"] if s["stream"] == "book" and s["durable"] is not None]
print(*(found[0]["durable"], found[0]["stored"]) if found else (0, 0))'
}

listen()
{
	local durable stored
	read -r durable stored < <(numbers) || return
	[ "$durable" -gt 0 ] || return
	told_durable=$durable told_stored=$stored
}

# So much more than before was stored.
stored_beyond() # NUMBER
{
	listen && [ "$told_stored" -gt "$1" ]
}

end_all()
{
	local pid
	for pid in $(pgrep -P "$instance") $(pgrep -f -- "tb publish --dir $work/disk/tb ") "$instance"; do
		kill -KILL "$pid" 2>/dev/null
	done
	wait "$instance" "$publishing" 2>/dev/null
	await 20 umount "$work/disk"
}

kept() # DURABLE STORED
{
	local durable stored
	read -r durable stored < <(numbers)
	[ "$durable" -ge "$1" ] && [ "$stored" -ge "$2" ] && return
	echo "told durable $1 and stored $2, but after the cut there are $durable and $stored"
	return 1
}

# Up, load, a cut at any moment of it; and up again.
round() # NUMBER
{
	local before durable stored i
	read -r durable stored < <(numbers)
	before=$stored
	publish $((durable + 1)) 100000000 0.01 >>"$work/publish.log" 2>&1 &
	publishing=$!
	await 60 stored_beyond "$before" || { tail "$work/publish.log"; return 1; }
	[ $(($1 % 2)) -eq 0 ] || tb backup --dir "$work/disk/tb" --type full --stream book || return
	for ((i = RANDOM % 8; i > 0; i--)); do
		listen
	done
	cut_power || return
	durable=$told_durable stored=$told_stored
	end_all && boot && plug_in || return
	up "$work/disk/tb" && await 20 kept "$durable" "$stored"
}

cuts()
{
	local i
	up "$work/disk/tb" || return
	for ((i = 1; i <= rounds; i++)); do
		round $i || return
	done
	echo "note: $rounds cuts; $told_durable events had been told as durable before the last, $told_stored as stored"
}

all_there()
{
	local durable stored
	read -r durable stored < <(numbers)
	last=$((durable + 500))
	publish $((durable + 1)) $last 0 --wait stored || return
	input 1 $last >"$work/lines"
	tb events --dir "$work/disk/tb" --stream book --json >"$work/events" || return
	python3 - "$work/lines" "$work/events" <<'SCRIPT'
import itertools, json, sys
pairs = itertools.zip_longest(open(sys.argv[1]), open(sys.argv[2]))
for number, (line, event) in enumerate(pairs, 1):
    if line is None or event is None:
        sys.exit("%s has only %d lines" % ("the input" if line is None else "the archive", number - 1))
    line, event = json.loads(line), json.loads(event)
    if event["number"] != number or any(event[name] != line[name] for name in line):
        sys.exit("event %d: published %r, archived %r" % (number, line, event))
print("note: %d events" % number)
SCRIPT
}

state_is_right()
{
	tb restore --dir "$work/disk/tb" --stream book --to "json:$work/state" || return
	python3 - "$work/lines" "$work/state" <<'SCRIPT'
import json, sys
state = {}
for line in open(sys.argv[1]):
    delta = json.loads(line)["delta"]
    state[delta["key"]] = delta["value"]
got = {entry["key"]: entry["value"] for entry in map(json.loads, open(sys.argv[2])) if "key" in entry}
sys.exit(0 if got == state else "%d keys restored, %d are right" % (len(got), len(state)))
SCRIPT
	tb verify --dir "$work/disk/tb"
}

if ! prepare >"$work/prepare.log" 2>&1; then
	skip $claims "what was promised outlives power cuts" "no ext4 on a loop device here: $(tail -n 1 "$work/prepare.log")"
	end
	exit
fi
claim "$rounds power cuts under load: it comes back by itself, with all that was told as durable and stored" cuts &&
	claim "every event is there, once and in order" all_there &&
	claim "the state is right, and the repository whole" state_is_right
end_all
end

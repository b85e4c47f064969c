#!/usr/bin/env bash
# What is too much, too large, missing or not allowed: each is said clearly, ends with the right exit code, and nothing
# that was accepted is lost by it.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

dir=$work/tb
key=$dir/keys/identity.key

# refuses CODE WORDS COMMAND…: it ends with CODE; on stderr stand WORDS (a pattern), as `tb VERB: …`, and a hint.
refuses()
{
	local code=$1 words=$2 rc=0
	shift 2
	timeout 60 "$@" >"$work/out" 2>"$work/err" || rc=$?
	head -c 2000 "$work/err"
	same $rc "$code" && grep -Eq -- "^tb [a-z]+: .*($words)" "$work/err" && grep -q '^hint: .' "$work/err"
}

# A process of its own says it in its log, which is stderr.
dies() # CODE WORDS HINT COMMAND…
{
	local code=$1 words=$2 hint=$3 rc=0
	shift 3
	timeout 20 "$@" >"$work/out" 2>"$work/err" </dev/null || rc=$?
	cat "$work/err"
	same $rc "$code" && grep -Eq -- " error .* ends: .*($words)" "$work/err" &&
		{ [ -z "$hint" ] || grep -Eq -- " ends: hint: .*($hint)" "$work/err"; }
}

publishes() # ENGINE OPTION…
{
	local engine=$1
	shift
	tb publish --dir "$dir" --engine "$engine" --wait stored "$@"
}

# status_says WORDS: it is degraded, and one of its reasons holds WORDS (a pattern).
status_says()
{
	local code=0
	tb status --dir "$dir" >"$work/status" 2>&1 || code=$?
	[ $code -eq 1 ] && grep -Eq -- "^degraded: .*($1)" "$work/status"
}

await_status() # WORDS
{
	await 30 status_says "$1" || { cat "$work/status"; return 1; }
}

# A digest as the contract has it, of the JSON lines of a state.
digest_of()
{
	python3 - "$1" <<'SCRIPT'
import base64, hashlib, json, sys
state = {}
for line in open(sys.argv[1], encoding="utf-8"):
    for delta in (record := json.loads(line)).get("deltas", [record.get("delta", record)]):
        value = delta["value"].encode() if "value" in delta else base64.b64decode(delta["value_b64"])
        state[delta["key"].encode()] = value
digest = hashlib.sha256()
for key in sorted(state):
    digest.update(key + b"=" + state[key] + b"\n")
print(digest.hexdigest())
SCRIPT
}

# restores_to STREAM FILE: what was published with FILE's deltas is what a restore gives.
restores_to()
{
	local got
	got=$(tb restore --dir "$dir" --stream "$1" --to null: --json | json digest) && same "$got" "$(digest_of "$2")"
}

# --- bad lines

# One of them behind a good line and before another, by themselves: a text, a tab, what is said about it.
bad_lines=$(
	cat <<'LINES'
{"delta":{"key":"a"	
{"delta":{"key":"","value":"1"}}	key
{"delta":{"key":"a"}}	value
{"delta":{"key":7,"value":"1"}}	key
{"delta":{"key":"a","value":1}}	value
{"delta":{"key":"a","op":"undo"}}	delta.op
{"delta":{"key":"a","value_b64":"***"}}	value_b64|base64
{"deltas":[]}	deltas
{"delta":{"key":"a","value":"1"},"opaque":{"source":"s","data":"d"}}	one
{"delta":{"key":"a","value":"1","colour":"red"}}	colour
{"time_ns":-1,"delta":{"key":"a","value":"1"}}	time_ns
{"trade":{"price":"1"}}	trade
{"reset":"perhaps"}	reset
{"priority":4,"delta":{"key":"a","value":"1"}}	priority
{"ghost":{"event_type":"ghost_trigger","trigger":"t","pair":"A→B","bit_phase":43}}	bit_phase
{"ghost":{"event_type":"ghost_trigger","trigger":"t","pair":"A→B","bit_phase":4.5}}	bit_phase
{"ghost":{"event_type":"ghost_trigger","trigger":"t","pair":"A→B","bit_phase":4,"confidence":1.5}}	confidence
{"mode":"live","bar":{"symbol":"BTC","price":"50000.0","price_source":"static"}}	static
[1,2,3]	
LINES
)

each_is_refused()
{
	local text words bad=0 n=0
	while IFS=$'\t' read -r text words; do
		n=$((n + 1))
		printf '{"delta":{"key":"good","value":"%d"}}\n%s\n{"delta":{"key":"after","value":"1"}}\n' $n "$text" |
			refuses 2 "line 2: .*($words)" tb publish --dir "$dir" --engine bad >"$work/told" ||
			{ echo "$text"; cat "$work/told"; bad=1; }
	done <<<"$bad_lines"
	[ $bad -eq 0 ] || return
	printf '{"key":"good","value":"%d"}\n' $n >"$work/good.jsonl"
	publishes bad </dev/null && restores_to bad "$work/good.jsonl"
}

# Kept with line, reason and text; and what is good arrives.
each_is_kept()
{
	local file=$dir/outbox/kept.quarantine.jsonl
	{ cut -f 1 <<<"$bad_lines"; printf '{"delta":{"key":"good","value":"1"}}\n'; } >"$work/mixed.jsonl"
	publishes kept --keep-going <"$work/mixed.jsonl" >"$work/out" || return
	same "$(json published quarantined <"$work/out" | tr '\n' ' ')" "1 $(lines <(cat <<<"$bad_lines")) " || return
	python3 - "$file" "$work/mixed.jsonl" <<'SCRIPT'
import json, sys
texts = open(sys.argv[2], encoding="utf-8").read().split("\n")
for row in map(json.loads, open(sys.argv[1], encoding="utf-8")):
    assert row["text"] == texts[row["line"] - 1] and row["why"], row
    assert '"static"' not in row["text"] or "static" in row["why"], row
SCRIPT
}

claim "an instance" up "$dir"
claim "each bad line is refused with its number and reason, and nothing of it arrives" each_is_refused
claim "with --keep-going each is kept with its reason, and the good ones arrive" each_is_kept

# --- sizes

make_large()
{
	python3 - "$work" <<'SCRIPT'
import base64, json, random, sys
chance = random.Random(7)
key, value = "k" * 480, chance.randbytes(16 << 20)
def delta(name, key, value):
    with open(f"{sys.argv[1]}/{name}.jsonl", "w") as file:
        print(json.dumps({"delta": {"key": key, "value_b64": base64.b64encode(value).decode()}}), file=file)
delta("largest", key, value)
delta("key", key + "k", b"1")
delta("value", "k", value + b"1")
SCRIPT
}

opaque() # SIZE: an event with so many bytes of data
{
	python3 -c '
import sys
size = int(sys.argv[1])
sys.stdout.write("{\"opaque\":{\"source\":\"s\",\"data\":\"" + ("0123456789abcdef" * (size // 16 + 1))[:size] + "\"}}\n")' "$1"
}

# The limit is one of canonical bytes: what is said about one that is too large tells how much its data may have.
largest_event()
{
	local limit=33554432 size
	opaque $limit | refuses 2 "line 1: .*over the limit of $limit" tb publish --dir "$dir" --engine large || return
	size=$(sed -nE 's/.*it has ([0-9]+) bytes.*/\1/p' "$work/err")
	fits=$((2 * limit - size))
	opaque $((fits + 1)) | refuses 2 "line 1: .*it has $((limit + 1)) bytes" tb publish --dir "$dir" --engine large || return
	opaque $fits | publishes large || return
	tb events --dir "$dir" --stream large --json >"$work/large.json" || return
	python3 -c '
import json, sys
texts = [json.loads(line)["opaque"]["data"] for line in open(sys.argv[1])]
size = int(sys.argv[2])
sys.exit(texts != [("0123456789abcdef" * (size // 16 + 1))[:size]])' "$work/large.json" $fits
}

too_large()
{
	refuses 2 'line 1: .*480' tb publish --dir "$dir" --engine state <"$work/key.jsonl" &&
		refuses 2 'line 1: .*(16777216|16 MiB)' tb publish --dir "$dir" --engine state <"$work/value.jsonl"
}

largest_state()
{
	publishes state <"$work/largest.jsonl" && restores_to state "$work/largest.jsonl"
}

make_large
claim "a key and a value one byte too large are refused, and the limit is named" too_large
claim "the largest key and value come back byte for byte" largest_state
claim "the largest event comes back byte for byte; one byte more is refused" largest_event

# --- who may not, who comes second, what is missing or newer

unprivileged=(setpriv --reuid=65534 --regid=65534 --clear-groups)

as_nobody()
{
	chmod 755 "$work"
	mkdir -p "$work/theirs" && chown 65534:65534 "$work/theirs"
	refuses 5 'Permission denied' "${unprivileged[@]}" tb init --dir "$work/new" &&
		refuses 5 'Permission denied' "${unprivileged[@]}" tb up --dir "$work/new" &&
		refuses 5 'Permission denied' "${unprivileged[@]}" tb publish --dir "$dir" --engine theirs </dev/null &&
		refuses 5 'Permission denied' "${unprivileged[@]}" tb restore --dir "$dir" --stream state --to null: &&
		refuses 5 'Permission denied' "${unprivileged[@]}" tb down --dir "$dir" &&
		refuses 5 'Permission denied' "${unprivileged[@]}" tb verify --dir "$dir" &&
		dies 5 '(Permission denied|Operation not permitted)' 'the user' "${unprivileged[@]}" tb-broker --dir "$dir" &&
		dies 5 '(Permission denied|Operation not permitted)' 'the user' "${unprivileged[@]}" tb-sealer --dir "$dir" || return
	if [ -e "$work/new" ]; then
		echo "$work/new was made" && return 1
	fi
	cp "$key" "$work/theirs/" && chown 65534 "$work/theirs/identity.key" && mkdir "$work/ours" || return
	refuses 5 'Permission denied' "${unprivileged[@]}" tb restore --repo "$dir/repository" --key "$work/theirs/identity.key" \
		--stream state --to "json:$work/ours/state.jsonl" && same "$(ls -A "$work/ours")" ''
}

second_worker()
{
	local name
	for name in collector sealer storer signal; do
		dies 5 'in use by another process' 'stop the other' "tb-$name" --dir "$dir" || return
	done
}

# Files of a key: cut, changed, empty, not one at all.
damaged_keys()
{
	local bad
	(umask 077 && touch "$work"/{cut,changed,empty,other}.key)
	head -c 100 "$key" >"$work/cut.key"
	python3 -c '
import sys
text = open(sys.argv[1]).read()
at = len(text) - 20
open(sys.argv[2], "w").write(text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1:])' "$key" "$work/changed.key"
	cat "$dir/tb.yaml" >"$work/other.key"
	for bad in cut changed empty other; do
		refuses 7 "$bad.key" tb restore --repo "$dir/repository" --key "$work/$bad.key" --stream state --to null: || return
	done
	refuses 3 'none.key' tb restore --repo "$dir/repository" --key "$work/none.key" --stream state --to null:
}

# Nobody writes into, or restores from, what they don't know how to read.
newer_repository()
{
	local copy=$work/newer
	tb init --dir "$copy" >/dev/null || return
	sed -i 's/"format":1/"format":2/' "$copy/repository/tradebank.json"
	refuses 5 'format 2' tb restore --dir "$copy" --stream state --to null: &&
		refuses 5 'format 2' tb verify --dir "$copy" &&
		refuses 5 'format 2' tb list --dir "$copy" &&
		dies 5 'format 2' 'newer' tb-storer --dir "$copy" &&
		refuses 5 "storer doesn't start .*format 2" tb up --dir "$copy"
}

no_instance()
{
	local name there
	mkdir -p "$work/empty"
	for name in broker collector sealer storer signal; do
		for there in empty nowhere; do
			dies 3 'holds no instance' 'tb init' "tb-$name" --dir "$work/$there" || return
		done
	done
	same "$(ls -A "$work/empty")" '' && [ ! -e "$work/nowhere" ]
}

own_options()
{
	dies 2 '"20" is not' '' tb-sealer --dir "$dir" --seal-level 20 &&
		dies 5 'in use' '' tb-sealer --dir "$dir" --seal-level 3
}

# --- a tier that is away

without_tier()
{
	local pid
	mv "$dir/repository" "$work/away" || return
	: >"$dir.up"
	spawn tb up --dir "$dir" >"$dir.up" 2>"$dir.log"
	instance=$spawned
	await_status "storer ended .*(3|6): .*repository" || return
	grep -q 'tb up: storer ended with exit code [36]: .*repository' "$dir.log" || { cat "$dir.log"; return 1; }
	same "$(cat "$dir.up")" '' || return
	mv "$work/away" "$dir/repository" && await 30 grep -q '^ready ' "$dir.up"
}

tier_goes_and_comes()
{
	local line='{"delta":{"key":"%s","value":"1"}}\n'
	# shellcheck disable=SC2059 # a format of ours
	printf "$line" before >"$work/away.jsonl" && publishes away <"$work/away.jsonl" || return
	mv "$dir/repository" "$work/away" || return
	# shellcheck disable=SC2059
	printf "$line" meanwhile | tee -a "$work/away.jsonl" |
		refuses 4 'not stored in time' tb publish --dir "$dir" --engine away --wait stored --timeout 1s || return
	await_status "storer ended .*repository" || return
	if [ -e "$dir/repository" ]; then
		echo "a repository was made where the other had been" && return 1
	fi
	mv "$work/away" "$dir/repository" && publishes away </dev/null && restores_to away "$work/away.jsonl"
}

# --- a restore that is ended, or has no room

is_writing()
{
	[ -s "$work/piped" ] || [ -n "$(ls -A "$work/scratch")" ]
}

# Its output is a pipe that nobody empties: there it waits, with its scratch directory.
ends_cleanly() # SIGNAL
{
	local pid code=0
	mkdir -p "$work/scratch"
	exec 8<> <(:)
	TMPDIR=$work/scratch tb restore --dir "$dir" --stream state --to json:- >&8 2>"$work/err" &
	pid=$!
	await 20 is_writing || return
	kill "-$1" $pid
	wait $pid || code=$?
	exec 8>&-
	cat "$work/err"
	same $code 4 && grep -q '^tb restore: stopped on request' "$work/err" && same "$(ls -A "$work/scratch")" ''
}

# Whenever it is told: nothing, or the whole.
ends_whole()
{
	local target i code
	mkdir -p "$work/targets"
	for target in json:$work/targets/state.jsonl lmdb:$work/targets/state; do
		for i in 0 0.02 0.05 0.1 0.2; do
			TMPDIR=$work/scratch tb restore --dir "$dir" --stream state --to "$target" >/dev/null 2>&1 &
			sleep $i # wherever that finds it
			kill -TERM $! 2>/dev/null
			code=0
			wait $! || code=$?
			same "$(ls -A "$work/scratch")" '' || return
			case $code in
			0) same "$(ls "$work/targets")" "$(basename "${target#*:}")" && rm -r "$work/targets"/* || return ;;
			4 | 143) same "$(ls -A "$work/targets")" '' || return ;;
			*) echo "exit code $code" && return 1 ;;
			esac
		done
	done
}

if [ "$(id -u)" -eq 0 ] && "${unprivileged[@]}" test -x "$TB_BIN/tb"; then
	claim "whoever may not is told so, and nothing is made or left" as_nobody
else
	skip 1 "whoever may not is told so" "it takes root, and programs that others may run"
fi
claim "a second worker on a bank is refused" second_worker
claim "a damaged key is refused, and which file it is" damaged_keys
claim "a repository of a newer format is refused by whoever opens it" newer_repository
claim "a program on a directory that is no instance makes nothing there" no_instance
claim "a worker takes its own options on its command line" own_options
claim "a tier that goes away is noticed, and taken up again when it is back" tier_goes_and_comes
claim "a restore that waits for its reader is ended by SIGTERM, and cleans up" ends_cleanly TERM
claim "and by SIGINT" ends_cleanly INT
claim "whenever a restore is ended its target is whole or not there" ends_whole
claim "it ends" down "$dir"
claim "without its tier it says so, and starts by itself once it is there" without_tier
claim "nothing is lost" restores_to away "$work/away.jsonl"
claim "all that was stored is whole" tb verify --dir "$dir"
claim "it ends again" down "$dir"

# --- full disks

# Four small disks below one instance. Each is filled while events come in, and freed again.
small_disks()
{
	local place size
	dir=$work/disks
	tb init --dir "$dir" >/dev/null || return
	printf 'journal:\n  file-size: 2MiB\nsegment:\n  size: 256KiB\n' >>"$dir/tb.yaml"
	mkdir "$dir/banks/collector"
	while read -r place size; do
		cp -a "$dir/$place" "$work/saved" && mount -t tmpfs -o "size=$size,mode=700" "tb-$script" "$dir/$place" || return
		mounts+=("$dir/$place")
		cp -a "$work/saved/." "$dir/$place" && rm -r "$work/saved" || return
	done <<-'PLACES'
		repository 24m
		journal 24m
		outbox 100m
		banks/collector 64m
	PLACES
	up "$dir"
}

# Invoked by trap.
# shellcheck disable=SC2329,SC2317
unmount_and_leave()
{
	local pid mount
	for pid in "${started[@]}"; do
		ends "$pid"
	done
	for mount in "${mounts[@]}"; do
		umount "$mount"
	done
	leave
}

fill()
{
	dd if=/dev/zero of="$dir/$1/filler" bs=4k status=none 2>/dev/null
	df --output=avail "$dir/$1" | tail -n 1
	same "$(df --output=avail "$dir/$1" | tail -n 1 | tr -d ' ')" 0
}

events() # FROM COUNT: about 1 KiB each, that compression makes nothing of
{
	python3 -c '
import json, random, sys
first, count = map(int, sys.argv[1:])
chance = random.Random(first)
for i in range(first, first + count):
    print(json.dumps({"delta": {"key": f"k{i:06d}", "value": chance.randbytes(512).hex()}}))' "$1" "$2"
}

is_content() # but for the disk's size
{
	tb status --dir "$dir" --json | python3 -c '
import json, sys
sys.exit(any("nearly full" not in text for text in json.load(sys.stdin)["degraded"]))'
}

# Publishing is told, status says why, and when there is room it goes on by itself.
full_disk() # PLACE WHY
{
	local from=$next
	next=$((next + 4000))
	fill "$1" || return
	events "$from" 4000 | tee -a "$work/disks.jsonl" |
		refuses 4 'all is accepted, but not (stored|durable) in time' \
			tb publish --dir "$dir" --engine disks --wait stored --timeout 3s || return
	await_status "$2" || return
	rm "$dir/$1/filler"
	publishes disks </dev/null && await 30 is_content && restores_to disks "$work/disks.jsonl"
}

# An outbox has its room from the beginning: one that is there doesn't notice, a new one isn't begun.
full_outbox()
{
	fill outbox || return
	events $next 100 | tee -a "$work/disks.jsonl" | publishes disks || return
	events $next 1 | refuses 6 'outbox.*No space left' tb publish --dir "$dir" --engine another || return
	next=$((next + 100))
	same "$(cd "$dir/outbox" && ls -A | grep -vE '^(disks|filler|another.lock)')" '' || return
	rm "$dir/outbox/filler"
	restores_to disks "$work/disks.jsonl"
}

# The bank of a process that starts for the first time, with ever more room: it says so, and starts once it can.
new_bank()
{
	local bank=$work/bank room short=0
	mkdir "$bank" && mount -t tmpfs -o size=256k "tb-$script" "$bank" && mounts+=("$bank") || return
	for ((room = 0; room < 128; room += 4)); do
		dd if=/dev/zero of="$bank/filler" bs=4k status=none 2>/dev/null
		truncate -s "-${room}K" "$bank/filler"
		spawn tb-sealer --dir "$dir" --bank "$bank/new" 2>"$work/sealer.log"
		await 20 grep -Eq ' started| ends: hint: free some room' "$work/sealer.log" || return
		if grep -q ' started' "$work/sealer.log"; then
			break
		fi
		wait $spawned
		same $? 6 && grep -q 'No space left' "$work/sealer.log" || { cat "$work/sealer.log"; return 1; }
		short=$((short + 1))
	done
	ends $spawned
	echo "short of room $short times"
	[ $short -gt 3 ] && grep -q ' started' "$work/sealer.log"
}

no_room_for_a_target()
{
	local small=$work/small
	mkdir "$small" && mount -t tmpfs -o size=2m "tb-$script" "$small" && mounts+=("$small") || return
	refuses 6 'No space left' tb restore --dir "$dir" --stream disks --to "json:$small/state.jsonl" &&
		same "$(ls -A "$small")" '' &&
		refuses 6 'No space left' tb restore --dir "$dir" --stream disks --to "lmdb:$small/state" &&
		same "$(ls -A "$small")" '' &&
		TMPDIR=$small refuses 6 'No space left' tb restore --dir "$dir" --stream disks --to null: &&
		same "$(ls -A "$small")" '' || return
	printf 'mine\n' >"$small/state.jsonl"
	refuses 6 'No space left' tb restore --dir "$dir" --stream disks --to "json:$small/state.jsonl" --force &&
		same "$(ls -A "$small")" state.jsonl && same "$(cat "$small/state.jsonl")" mine
}

mounts=() next=0

if [ "$(id -u)" -eq 0 ] && mount -t tmpfs "tb-$script" "$(mktemp -d "$work/mount.XXXXXX")" 2>/dev/null; then
	mounts+=("$(echo "$work"/mount.*)")
	trap unmount_and_leave EXIT
	claim "an instance on four small disks" small_disks
	claim "a full repository loses nothing, and it goes on by itself" full_disk repository 'storer ended .*No space left'
	claim "a full journal loses nothing, and it goes on by itself" full_disk journal 'broker: degraded: .*No space left'
	claim "a full bank loses nothing, and it goes on by itself" full_disk banks/collector 'collector ended .*No space left'
	claim "a full outbox takes no new engine, and stops no other" full_outbox
	claim "a bank that there was no room to make is made later" new_bank
	claim "a restore without room leaves nothing behind" no_room_for_a_target
	claim "all that was stored is whole" tb verify --dir "$dir"
	claim "it ends" down "$dir"
else
	skip 9 "full disks" "it takes root, and leave to mount"
fi
end

#!/usr/bin/env bash
# A backup stores what changed since those before it: nothing changed, nothing but its manifest; one key, a chunk or two.
# Any event is found by its hash. --long: a million keys.
. "$(dirname "$0")/lib.sh"

keys=200000
[ "${1:-}" != --long ] || keys=1000000
repository=$work/tb/repository

entries()
{
	python3 -c '
import random, sys
random.seed(7)
for number in range(int(sys.argv[1])):
    print("{\"time_ns\":%d,\"delta\":{\"key\":\"order:%08d\",\"value\":\"%040x\"}}"
          % (1700000000000000000 + number, number, random.getrandbits(160)))' $keys
}

publish()
{
	tb publish --dir "$work/tb" --engine book --wait stored
}

bytes()
{
	find "$repository" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum + 0 }'
}

bytes_below() # FOLDER
{
	find "$repository/$1" -type f -printf '%s\n' 2>/dev/null | awk '{ sum += $1 } END { print sum + 0 }'
}

# A full backup of the stream; its id in $work/NAME.backup, and what the repository grew by in $grown. Signals have a
# stream and segments of their own: what is counted is this stream's manifests, and chunks as its log tells.
backup() # NAME
{
	local before
	before=$(bytes)
	tb backup --dir "$work/tb" --type full --stream book --wait >"$work/$1.backup" || return
	grown=$(($(bytes) - before))
	backup_line "$1" >"$work/$1.log"
	chunks=$(sed -E 's/.* ([0-9]+) chunks, ([0-9]+) of them stored before.*/\1/' "$work/$1.log")
	shared_chunks=$(sed -E 's/.* ([0-9]+) chunks, ([0-9]+) of them stored before.*/\2/' "$work/$1.log")
	echo "note: the repository grew by $grown bytes; $((chunks - shared_chunks)) of $chunks chunks were stored"
}

backup_line()
{
	grep -F "$(cat "$work/$1.backup")" "$work/tb/logs/collector.log" | grep ' chunks, '
}

first()
{
	backup first && [ "$shared_chunks" -eq 0 ] && [ "$chunks" -gt 3 ]
}

# Also what the signal of the one before left: a segment of one event, its manifest and head.
unchanged()
{
	local manifests
	manifests=$(bytes_below manifests/book)
	backup second || return
	echo "note: of that $(($(bytes_below manifests/book) - manifests)) bytes are the backup's manifest"
	[ "$shared_chunks" -eq "$chunks" ] && [ $grown -lt 50000 ]
}

one_changed()
{
	echo "{\"delta\":{\"key\":\"order:$(printf %08d $((keys / 2)))\",\"value\":\"another\"}}" | publish || return
	backup third && [ $((chunks - shared_chunks)) -ge 1 ] && [ $((chunks - shared_chunks)) -le 2 ]
}

digest() # OPTION…
{
	tb restore --repo "$repository" --key "$work/tb/keys/identity.key" --stream book --to null: --json "$@" | json digest
}

# By its chunks, and by nothing but events.
same_state() # NAME
{
	local event
	event=$(tb show --dir "$work/tb" --json "$(cat "$work/$1.backup")" | json event)
	digest --backup "$(cat "$work/$1.backup")" >"$work/$1.digest" && digest_of_events "$event" >"$work/$1.expected" &&
		same "$(cat "$work/$1.digest")" "$(cat "$work/$1.expected")"
}

digest_of_events() # NUMBER
{
	tb events --dir "$work/tb" --stream book --to "$1" --json | python3 -c '
import hashlib, json, sys
state = {}
for line in sys.stdin:
    delta = json.loads(line)["delta"]
    state[delta["key"].encode()] = delta["value"].encode()
digest = hashlib.sha256()
for key in sorted(state):
    digest.update(key + b"=" + state[key] + b"\n")
print(digest.hexdigest())'
}

# An object that all backups share, removed behind the instance's back.
remove_shared()
{
	tb show --dir "$work/tb" --json "$(cat "$work/first.backup")" >"$work/shown" || return
	python3 - "$work/shown" "$repository" <<'SCRIPT'
import json, os, sys
def names(value):
    if isinstance(value, dict):
        for part in value.values():
            yield from names(part)
    elif isinstance(value, list):
        for part in value:
            yield from names(part)
    elif isinstance(value, str) and len(value) == 64:
        yield value
for name in names(json.load(open(sys.argv[1]))):
    path = "%s/objects/%s/%s" % (sys.argv[2], name[:2], name)
    if os.path.exists(path):
        os.unlink(path)
        sys.exit(0)
sys.exit("tb show names no object")
SCRIPT
}

verify_notices()
{
	tb verify --dir "$work/tb" >"$work/verify"
	same $? 1 && grep -q 'object missing' "$work/verify"
}

heals()
{
	backup fourth && [ $((chunks - shared_chunks)) -eq 1 ] &&
		grep -F "$(cat "$work/fourth.backup")" "$work/tb/logs/collector.log" | grep -q 'begins anew'
}

found_by_hash() # NUMBER
{
	tb events --dir "$work/tb" --stream book --from "$1" --to "$1" --json >"$work/event" &&
		tb events --dir "$work/tb" --hash "$(json backup_hash <"$work/event")" --json >"$work/found" &&
		same "$(json event_id <"$work/found")" "book/$1"
}

# Equal content isn't identity.
all_of_a_hash()
{
	local line='{"time_ns":1700000000000000001,"bar":{"symbol":"X","price":"1","price_source":"cached"}}'
	printf '%s\n' "$line" "$line" "$line" | tb publish --dir "$work/tb" --engine bars --wait durable || return
	tb events --dir "$work/tb" --stream bars --limit 1 --json >"$work/event" || return
	tb events --dir "$work/tb" --hash "$(json backup_hash <"$work/event")" --json >"$work/found" &&
		same "$(lines "$work/found")" 3
}

not_there()
{
	tb events --dir "$work/tb" --hash "$(printf '%064d' 7)"
	same $? 3
}

without_index()
{
	tb events --repo "$repository" --key "$work/tb/keys/identity.key" --hash "$(json backup_hash <"$work/hundredth")" \
		--json >"$work/found" 2>"$work/said" &&
		same "$(json event_id <"$work/found")" book/100 && grep -q 'reading every event' "$work/said"
}

claim "an instance starts" up "$work/tb"
entries >"$work/book.jsonl"
claim "$keys keys are published" publish <"$work/book.jsonl"
claim "a first full backup stores every chunk" first
claim "a second one, with nothing changed, stores its manifest" unchanged
claim "after one change a chunk or two are stored" one_changed
for name in first second third; do
	claim "the $name one restores to what the events make" same_state $name
done
claim "a repository whose backups share objects is whole" tb verify --dir "$work/tb"
claim "an event is found by its hash" found_by_hash 100
cp "$work/event" "$work/hundredth"
claim "so is the newest" found_by_hash $((keys + 1))
claim "all events of a hash are found, also when they aren't archived yet" all_of_a_hash
claim "a hash that no event has is told apart" not_there
claim "without an instance the archive is read" without_index
claim "an object that backups share is removed" remove_shared
claim "verify notices" verify_notices
claim "the next backup stores it anew instead of naming what isn't there" heals
claim "and restores" same_state fourth
claim "it ends" down "$work/tb"
claim "an event is found when nothing runs" found_by_hash 100
end

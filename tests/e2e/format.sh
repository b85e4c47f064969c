#!/usr/bin/env bash
# A repository can be read by somebody else's program: tests/golden/read_repository.py, written after docs/FORMAT.md in
# another language, gives the same states as `tb restore`, byte for byte, and refuses what was altered.
. "$(dirname "$0")/lib.sh"

reader=$root/tests/golden/read_repository.py
repository=$work/tb/repository
key=$work/tb/keys/identity.key

read_state() # STREAM [OPTION…]
{
	"$reader" "$repository" "${with:-$key}" "$@"
}

digest_of() # STREAM N
{
	tb restore --repo "$repository" --key "$key" --stream "$1" --event "$2" --to null: --json 2>/dev/null | json digest
}

# The states as text, and their digests, at each of these events.
reads_as_tb_does() # STREAM N…
{
	local stream=$1 event
	shift
	for event in "$@"; do
		read_state "$stream" --event "$event" >"$work/theirs" || return
		tb restore --repo "$repository" --key "$key" --stream "$stream" --event "$event" --to json:- >"$work/ours" \
			2>"$work/restore.log" || { cat "$work/restore.log"; return 1; }
		cmp "$work/ours" "$work/theirs" || { echo "event $event of $stream differs"; return 1; }
		same "$(read_state "$stream" --event "$event" --digest)" "$(digest_of "$stream" "$event")" || return
	done
	echo "note: events $*"
}

# Where the engine itself wrote down what it held.
reads_what_the_engine_held() # NAME
{
	local event sha256 count=0
	while read -r event sha256; do
		same "$(read_state "$1" --event "$event" --digest)" "$sha256" || { echo "at event $event"; return 1; }
		count=$((count + 1))
	done < <(sed -n 's/.*"event":\([0-9]*\),.*"sha256":"\([0-9a-f]*\)".*/\1 \2/p' "$work/$1.points")
	echo "note: $count checkpoints"
	[ $count -gt 5 ]
}

# A backup in the middle, while events go on.
run_engine() # NAME
{
	"$1-engine" --dir "$work/tb" --seed 5 --events 3000 --rate 3000 --checkpoints "$work/$1.points" >"$work/$1.published" &
	local engine=$!
	await 20 grep -q event "$work/$1.points" && tb backup --dir "$work/tb" --type full --stream "$1" --wait &&
		wait $engine
}

# Bytes of all sorts, and many keys: several chunks in a backup.
publish_bytes()
{
	/usr/bin/python3 - <<'SCRIPT' | tb publish --dir "$work/tb" --engine bytes --wait stored
import base64, json, random
chance = random.Random(11)
for number in range(4000):
    key = {"key": "key:%d" % chance.randrange(1500)}
    if chance.random() < 0.2:
        print(json.dumps({"delta": {**key, "op": "delete"}}))
    elif chance.random() < 0.1:
        print(json.dumps({"delta": {**key, "value": "→\"\\\u0001\u007f\u2028 %d" % number}}))
    else:
        value = base64.b64encode(chance.randbytes(chance.randrange(3000))).decode()
        print(json.dumps({"delta": {**key, "value_b64": value}}))
print(json.dumps({"delta": {"key_b64": "/wA=", "value": ""}}))
SCRIPT
}

publish_text() # STREAM, lines on stdin
{
	tb publish --dir "$work/tb" --engine "$1" --wait stored
}

is_stored() # STREAM EVENT
{
	tb restore --dir "$work/tb" --stream "$1" --event "$2" --to null: >/dev/null 2>&1
}

# Several keys in one event, and replacements of the whole state: one with a backup in its middle, one that is given up.
publish_resets()
{
	{
		printf '{"delta":{"key":"a","value":"1"}}\n{"deltas":[{"key":"b","value":"2"},{"key":"a","op":"delete"}]}\n'
		printf '{"reset":"begin"}\n{"delta":{"key":"x","value":"9"}}\n'
		await 30 is_stored resets 4 >&2 && tb backup --dir "$work/tb" --type full --stream resets --wait >&2
		printf '{"deltas":[{"key":"a","value":"5"},{"key":"x","value":"10"}]}\n{"reset":"commit"}\n'
		printf '{"delta":{"key":"y","value":""}}\n'
	} | publish_text resets &&
		printf '{"reset":"begin"}\n{"delta":{"key":"q","value":"1"}}\n' | publish_text resets &&
		printf '{"delta":{"key":"w","value":"7"}}\n' | publish_text resets &&
		same "$(digest_of resets 10)" "$(printf 'a=5\nw=7\nx=10\ny=\n' | sha256sum | cut -d ' ' -f 1)" &&
		same "$(digest_of resets 4)" "$(printf 'b=2\n' | sha256sum | cut -d ' ' -f 1)"
}

chunks_of() # STREAM
{
	local id
	id=$(tb list --dir "$work/tb" --stream "$1" --json | tail -n 1 | json backup) || return
	tb show --dir "$work/tb" "$id" --json | /usr/bin/python3 -c 'import json, sys; print(len(json.load(sys.stdin)["objects"]))'
}

has_chunks()
{
	tb backup --dir "$work/tb" --type full --stream bytes --wait || return
	local count
	count=$(chunks_of bytes) && echo "note: $count chunks" && [ "$count" -gt 1 ]
}

last_of() # STREAM
{
	tb restore --repo "$repository" --key "$key" --stream "$1" --to null: --json 2>/dev/null | json event
}

reads_the_newest()
{
	same "$(read_state ghost --digest)" "$(digest_of ghost "$(last_of ghost)")"
}

from_the_kit()
{
	sed -n '/RECOVERY KIT/,$p' "$work/init" >"$work/kit"
	chmod 600 "$work/kit"
	with=$work/kit read_state orbit >"$work/by-kit" && read_state orbit >"$work/by-key" && cmp "$work/by-kit" "$work/by-key"
}

# refuses PATTERN STREAM [OPTION…]: it ends with 1 and says so.
refuses()
{
	local pattern=$1 rc=0
	shift
	read_state "$@" >/dev/null 2>"$work/err" || rc=$?
	cat "$work/err"
	same $rc 1 && grep -Eq "$pattern" "$work/err"
}

refuses_strangers()
{
	tb init --dir "$work/other" >"$work/other.init" 2>&1 || return
	with=$work/other/keys/identity.key refuses 'another repository' ghost &&
		with=$work/tb/keys/instance.key refuses 'kind instance' ghost &&
		refuses 'no stream nobody' nobody &&
		refuses "isn't stored" ghost --event 999999
}

# One flipped bit in each file that reading one of two events leans on.
refuses_what_was_altered()
{
	local file count=0
	while read -r file; do
		cp "$file" "$work/whole"
		/usr/bin/python3 - "$file" <<'SCRIPT'
import random, sys
with open(sys.argv[1], "r+b") as file:
    data = bytearray(file.read())
    at = random.Random(len(data)).randrange(8 * len(data))
    data[at // 8] ^= 1 << at % 8
    file.seek(0)
    file.write(data)
SCRIPT
		refuses . small || refuses . small --event 1 || { echo "$file was altered and read"; return 1; }
		cp "$work/whole" "$file"
		count=$((count + 1))
	done < <(find "$repository/manifests/small" "$repository/heads/small" "$repository/keys" -type f && objects_of small)
	echo "note: $count files"
	read_state small >/dev/null
}

objects_of() # STREAM
{
	tb list --dir "$work/tb" --stream "$1" --all --json | while read -r line; do
		tb show --dir "$work/tb" "$(json backup <<<"$line")" --json
	done | grep -o '"[0-9a-f]\{64\}"' | tr -d '"' | sort -u | while read -r name; do
		find "$repository/objects" -name "$name"
	done
}

refuses_a_missing_manifest()
{
	local manifest
	manifest=$(find "$repository/manifests/small" -name '*-SEG-*' | sort | head -n 1)
	mv "$manifest" "$work/manifest" || return
	refuses 'chain' small || return
	mv "$work/manifest" "$manifest"
}

if ! /usr/bin/python3 -c 'import nacl.bindings, zstandard' 2>/dev/null; then
	skip 1 "somebody else's program reads a repository" "no python3-nacl or python3-zstandard for /usr/bin/python3"
	end
	exit
fi
tb init --dir "$work/tb" >"$work/init" 2>"$work/init.log"
claim "an instance starts" up "$work/tb"
for name in ghost orbit flip; do
	claim "the $name engine publishes, and is backed up meanwhile" run_engine $name
done
claim "bytes of all sorts are published" publish_bytes
claim "a backup of several chunks" has_chunks
claim "states are replaced" publish_resets
printf '{"delta":{"key":"a","value":"1"}}\n{"delta":{"key":"b","value":"2"}}\n' | publish_text small >"$work/small.published"
tb backup --dir "$work/tb" --type full --stream small --wait >"$work/small.id"
printf '{"delta":{"key":"a","value":"3"}}\n' | publish_text small >"$work/small.published"
claim "it ends" down "$work/tb"
for name in ghost orbit flip; do
	claim "it reads the $name engine's states as the engine held them" reads_what_the_engine_held $name
	claim "and as tb restore does" reads_as_tb_does $name 0 1 2 777 1500 3000
done
claim "bytes of all sorts, too, before and behind their backup" reads_as_tb_does bytes 1 2 2000 4000 4001
claim "replaced states, before, within and behind their replacement" reads_as_tb_does resets 0 1 2 3 4 5 6 7 8 9 10
claim "events around a small backup" reads_as_tb_does small 0 1 2 3
claim "without an event it reads the newest" reads_the_newest
claim "the recovery kit is as good as the key" from_the_kit
claim "other keys, streams and events are refused" refuses_strangers
claim "a bit flipped in any file that it needs is found" refuses_what_was_altered
claim "a missing link of the chain is found" refuses_a_missing_manifest
end

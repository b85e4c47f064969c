#!/usr/bin/env bash
# A bank that is lost is rebuilt: under load each worker is killed and its bank removed; a stream moves to another
# collector and back. At the end everything is there, once, and restores. --long: more of it.
. "$(dirname "$0")/lib.sh"

rounds=1
[ "${1:-}" != --long ] || rounds=5

entries()
{
	python3 -c '
import json, random
random.seed(11)
for number in range(240000):
    delta = {"key": "order:%06d" % random.randrange(4000)}
    delta.update({"op": "delete"} if number % 7 == 0 else {"value": "%030x" % random.getrandbits(120)})
    print(json.dumps({"time_ns": 1700000000000000000 + number, "delta": delta}))' >"$work/book.jsonl"
}

# At a pace: whoever is lost, something is going on. Ends when there is a file that says so.
pace()
{
	local at=1
	while [ ! -e "$work/enough" ] && [ $at -lt 238000 ]; do
		sed -n "$at,$((at + 299))p" "$work/book.jsonl"
		at=$((at + 300))
		sleep 0.1
	done
}

publish()
{
	pace | tb publish --dir "$work/tb" --engine book --wait stored --json >"$work/published" 2>"$work/publish.log"
}

stored()
{
	tb status --dir "$work/tb" --json 2>/dev/null | python3 -c '
import json, sys
status = json.load(sys.stdin)
print(max([0] + [stream["stored"] for stream in status["streams"] if stream["stream"] == "book"]))'
}

stored_beyond() # NUMBER
{
	local now
	now=$(stored) && [ "$now" -gt "$1" ]
}

# Killed, and its bank gone before it is started again.
lost() # WORKER
{
	local before now
	before=$(pid_of "$1") && now=$(stored) && [ -n "$before" ] || return
	kill -STOP "$instance" && kill -KILL "$before"
	while [ -e "/proc/$before" ] && ! grep -q '^State:.Z' "/proc/$before/status"; do sleep 0.05; done
	rm -r "$work/tb/banks/$1"
	kill -CONT "$instance"
	await 30 is_another "$1" "$before" && await 90 stored_beyond "$((now + 600))"
}

backup()
{
	tb backup --dir "$work/tb" --type full --stream book --wait >>"$work/backups"
}

log_has() # FILE TEXT
{
	grep -q "$2" "$1"
}

# The first hangs, and the other takes its streams; then that one ends, and the first, whose bank is behind, goes on.
moves()
{
	local first now
	first=$(pid_of collector) && now=$(stored) || return
	spawn "$TB_BIN/tb-collector" --dir "$work/tb" --bank "$work/other" 2>"$work/other.log"
	kill -STOP "$first"
	await 60 log_has "$work/other.log" 'stream book.*goes on after' && await 60 stored_beyond "$((now + 600))" || return
	now=$(stored)
	kill -CONT "$first"
	ends "$spawned"
	await 90 stored_beyond "$((now + 600))" && log_has "$work/tb/logs/collector.log" 'stream book: what this bank held'
}

without_identity()
{
	mv "$work/tb/keys/identity.key" "$work/aside"
	local before
	before=$(pid_of collector)
	kill -STOP "$instance" && kill -KILL "$before"
	while [ -e "/proc/$before" ] && ! grep -q '^State:.Z' "/proc/$before/status"; do sleep 0.05; done
	rm -r "$work/tb/banks/collector"
	kill -CONT "$instance"
	await 60 says_why && mv "$work/aside" "$work/tb/keys/identity.key" && await 60 stored_beyond "$(stored)"
}

says_why()
{
	tb status --dir "$work/tb" 2>&1 | grep -q "isn't taken: .*identity.key"
}

ends_publishing()
{
	touch "$work/enough"
	wait "$publishing" || { tail "$work/publish.log"; return 1; }
	last=$(json last <"$work/published")
	head -n "$last" "$work/book.jsonl" >"$work/all.jsonl"
}

all_there()
{
	tb events --dir "$work/tb" --stream book --json >"$work/events" || return
	python3 - "$work/all.jsonl" "$work/events" <<'SCRIPT'
import itertools, json, sys
for number, (line, event) in enumerate(itertools.zip_longest(open(sys.argv[1]), open(sys.argv[2])), 1):
    if line is None or event is None:
        sys.exit("one of them has only %d lines" % (number - 1))
    line, event = json.loads(line), json.loads(event)
    if event["number"] != number or event["time_ns"] != line["time_ns"] or event["delta"]["key"] != line["delta"]["key"]:
        sys.exit("event %d: published %r, archived %r" % (number, line, event))
SCRIPT
}

restores()
{
	python3 - "$work/all.jsonl" "$work/tb" <<'SCRIPT'
import hashlib, json, random, subprocess, sys
events = [json.loads(line)["delta"] for line in open(sys.argv[1])]
for at in [len(events)] + random.sample(range(1, len(events)), 6):
    state = {}
    for delta in events[:at]:
        if delta.get("op") == "delete":
            state.pop(delta["key"], None)
        else:
            state[delta["key"]] = delta["value"]
    digest = hashlib.sha256("".join("%s=%s\n" % (key, state[key]) for key in sorted(state)).encode()).hexdigest()
    out = subprocess.run(["tb", "restore", "--dir", sys.argv[2], "--stream", "book", "--event", str(at), "--to", "null:", "--json"],
                         capture_output=True, text=True)
    if out.returncode != 0 or json.loads(out.stdout)["digest"] != digest:
        sys.exit("event %d: %s %s, not %s" % (at, out.stdout, out.stderr, digest))
SCRIPT
}

one_record_each()
{
	local count
	count=$(lines "$work/backups")
	tb watch BACKUP_READY --dir "$work/tb" --since 0 --count "$count" --timeout 20s --json >"$work/records" || return
	python3 - "$work/records" "$work/backups" <<'SCRIPT'
import json, sys
records = [json.loads(line) for line in open(sys.argv[1])]
backups = [line.strip() for line in open(sys.argv[2])]
if [record["number"] for record in records] != list(range(1, len(backups) + 1)):
    sys.exit("numbers %r" % [record["number"] for record in records])
if sorted(record["backup"] for record in records) != sorted(backups):
    sys.exit("%r aren't the records of %r" % (records, backups))
SCRIPT
}

entries
tb init --dir "$work/tb" >/dev/null && echo "lease: 2s" >>"$work/tb/tb.yaml"
claim "an instance starts" up "$work/tb"
publish &
publishing=$!
started+=("$publishing")
claim "something is stored" await 30 stored_beyond 1000 || exit
claim "a backup becomes ready" backup
for ((round = 0; round < rounds; round++)); do
	for worker in collector sealer storer signal; do
		claim "the bank of the $worker is lost, and it goes on" lost $worker
		claim "a backup becomes ready" backup
	done
	rm -rf "$work/other"
	claim "a stream moves to another collector, and back to a bank that is behind" moves
	claim "a backup becomes ready" backup
done
claim "without an identity a stream isn't taken, and status says why" without_identity
claim "publishing comes to its end" ends_publishing
claim "every event is there, once and in order" all_there
claim "restores at any number give what was published" restores
claim "each backup has one record" one_record_each
claim "the repository is whole" tb verify --dir "$work/tb"
claim "it ends" down "$work/tb"
end

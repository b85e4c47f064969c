#!/usr/bin/env bash
# Each backup gives exactly one numbered BACKUP_READY record, whatever dies meanwhile, and everybody can get it: by
# `tb watch`, `tb wait`, and any subscriber of nng.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

ids=()

backup() # STREAM
{
	local id
	id=$(tb backup --dir "$work/tb" --type full --stream "$1" --wait) || return
	echo "$id"
	[ -n "$id" ] && ids+=("$id")
}

publish() # STREAM COUNT
{
	local i
	for ((i = 1; i <= $2; i++)); do
		echo "{\"delta\":{\"key\":\"key:$i\",\"value\":\"$RANDOM\"}}"
	done | tb publish --dir "$work/tb" --engine "$1"
}

# All records, from the first on. `tb watch` goes on for ever: it is ended when they are all there.
records()
{
	tb watch BACKUP_READY --dir "$work/tb" --since 0 --json >"$work/records" &
	local watch=$! rc=0
	await 20 enough "$work/records" || rc=1
	sleep 0.5 # for one too many
	kill "$watch"
	wait "$watch" 2>/dev/null
	return $rc
}

enough()
{
	[ "$(lines "$1")" -ge "${#ids[@]}" ]
}

# A record for each backup and no other; numbers dense from 1.
one_record_each()
{
	records || return
	python3 - "$work/records" "${ids[@]}" <<'SCRIPT'
import json, sys
records = [json.loads(line) for line in open(sys.argv[1])]
backups = [record["backup"] for record in records]
numbers = sorted(record["number"] for record in records)
if sorted(backups) != sorted(sys.argv[2:]):
    sys.exit("backups: %r\nrecords: %r" % (sorted(sys.argv[2:]), sorted(backups)))
if len(set(numbers)) != len(numbers):
    sys.exit("numbers: %r" % numbers)
for field in ("stream", "type", "event", "time", "bytes", "stored", "manifest"):
    if any(field not in record for record in records):
        sys.exit("a record without %s" % field)
SCRIPT
}

watched()
{
	await 10 enough "$work/watched" && same "$(lines "$work/watched")" "${#ids[@]}"
}

waits_for()
{
	local id
	for id in "${ids[@]}"; do
		same "$(tb wait BACKUP_READY --dir "$work/tb" --backup "$id" --timeout 10s --json | json backup)" "$id" || return
	done
}

# nngcat prints a message as one quoted line: topic, NUL, JSON.
heard_by_nng()
{
	await 10 enough "$work/nngcat" || return
	python3 - "$work/nngcat" "${ids[@]}" <<'SCRIPT'
import ast, json, sys
backups = set()
for line in open(sys.argv[1]):
    topic, _, body = ast.literal_eval("b" + line.strip()).partition(b"\0")
    record = json.loads(body)
    if topic.decode() != "json/BACKUP_READY/" + record["stream"]:
        sys.exit("topic %r on a record of %s" % (topic, record["stream"]))
    backups.add(record["backup"])
sys.exit(0 if backups == set(sys.argv[2:]) else "backups: %r\nheard: %r" % (sys.argv[2:], backups))
SCRIPT
}

# A backup is under way when the worker ends, and there is one more after it is back.
survives() # WORKER SIGNAL
{
	local before running
	before=$(pid_of "$1")
	publish a 200 || return
	tb backup --dir "$work/tb" --type full --stream a >"$work/running" || return
	running=$(cat "$work/running")
	ids+=("$running")
	kill "-$2" "$before" || return
	await 20 is_another "$1" "$before" || return
	same "$(tb wait BACKUP_READY --dir "$work/tb" --backup "$running" --timeout 60s --json | json backup)" "$running" &&
		backup a
}

claim "an instance starts" up "$work/tb"
claim "two streams are published" eval 'publish a 1000 && publish b 1000'
spawn tb watch BACKUP_READY --dir "$work/tb" --json >"$work/watched"
nngcat=
if command -v nngcat >/dev/null; then
	spawn nngcat --sub --subscribe json/BACKUP_READY/ --dial "ipc://$work/tb/run/topics.ipc" --quoted >"$work/nngcat"
	nngcat=$spawned
fi
sleep 1 # until they have subscribed
for turn in first second third; do
	claim "a $turn backup of each becomes ready" eval "backup a && backup b"
done
claim "each has one record" one_record_each
claim "\`tb watch\` saw each once" watched
claim "\`tb wait\` finds each, though it is past" waits_for
if [ -n "$nngcat" ]; then
	claim "a plain subscriber of nng heard each" heard_by_nng
else
	skip 1 "a plain subscriber of nng heard each" "no nngcat here (package nng-utils)"
fi
for worker in signal storer sealer collector broker; do
	for signal in TERM KILL; do
		claim "backups go on when SIG$signal ends the $worker" survives $worker $signal
	done
done
claim "each still has one record" one_record_each
claim "it ends" down "$work/tb"
claim "it starts again" up "$work/tb"
claim "records outlive it" one_record_each
claim "numbering goes on" eval 'backup b && one_record_each'
claim "it ends" down "$work/tb"
end

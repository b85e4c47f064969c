#!/usr/bin/env bash
# What goes wrong is said clearly, and with the right exit code.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

# says CODE PATTERN COMMAND…: it ends with CODE, and PATTERN is in what it prints on stderr.
says()
{
	local code=$1 pattern=$2 rc=0
	shift 2
	timeout 60 "$@" >"$work/out" 2>"$work/err" </dev/null || rc=$?
	cat "$work/out" "$work/err"
	same $rc "$code" && { [ -z "$pattern" ] || grep -Eq -- "$pattern" "$work/err"; }
}

# The same, with TEXT on stdin.
told() # TEXT CODE PATTERN COMMAND…
{
	local text=$1 code=$2 pattern=$3 rc=0
	shift 3
	timeout 60 "$@" >"$work/out" 2>"$work/err" <<<"$text" || rc=$?
	cat "$work/out" "$work/err"
	same $rc "$code" && { [ -z "$pattern" ] || grep -Eq -- "$pattern" "$work/err"; }
}

is_private()
{
	local file
	for file in "$work/tb/keys"/*.key; do
		same "$(stat -c %a "$file")" 600 || return
	done
}

helps()
{
	local verb verbs
	mapfile -t verbs < <(tb --help | sed -n 's/^  \([a-z]*\)  .*/\1/p')
	[ ${#verbs[@]} -ge 14 ] || return
	for verb in "${verbs[@]}"; do
		tb "$verb" --help >"$work/out" || return
		grep -q "^example: tb $verb" "$work/out" || { echo "no example in the help of $verb"; return 1; }
	done
}

# What the help lists as not being there is refused, not taken for something else.
absent()
{
	local verb
	for verb in $(tb --help | sed -n '/^not in this version:/,/^$/p' | sed 1d); do
		says 5 "tb $verb: .*not in this version" tb "$verb" --dir "$work/tb" || return
	done
}

# What is a list prints one object a line, everything else one object.
prints_json()
{
	local verb
	for verb in status list "keys list" "show $id" verify; do
		# shellcheck disable=SC2086 # a verb and its operands
		tb $verb --dir "$work/tb" --json >"$work/out"
		python3 -c 'import json, sys; sys.exit(not [json.loads(line) for line in open(sys.argv[1])])' "$work/out" ||
			{ echo "tb $verb --json"; cat "$work/out"; return 1; }
	done
}

refuses_others()
{
	tb init --dir "$work/other" || return
	says 7 '' tb restore --repo "$work/tb/repository" --key "$work/other/keys/identity.key" --stream good --to null:
}

# Nothing of a refused line arrives, what stood before it does.
stops_at_the_line()
{
	local before after
	before=$(printf '{"delta":{"key":"k","value":"1"}}\n' | tb publish --dir "$work/tb" --engine good --json | json last)
	told '{"delta":{"key":"k","value":"2"}}
{"delta":{"key":"k"
{"delta":{"key":"k","value":"3"}}' 2 'line 2' tb publish --dir "$work/tb" --engine good || return
	after=$(printf '{"delta":{"key":"k","value":"4"}}\n' | tb publish --dir "$work/tb" --engine good --json | json last)
	same $((after - before)) 2
}

flipped()
{
	local object
	object=$(find "$work/copy/objects" -type f | sort | head -n 1)
	printf 'x' | dd of="$object" bs=1 seek=100 conv=notrunc status=none
	says 1 "" tb verify --repo "$work/copy" --key "$work/tb/keys/identity.key" || return
	grep -q "$(basename "$object")" "$work/out" "$work/err"
}

claim "no verb at all" says 2 'usage: tb' tb
claim "an unknown verb, with the one that was meant" says 2 'tb restore' tb restor
claim "an unknown option" says 2 "tb status: .*frobnicate" tb status --dir "$work/tb" --frobnicate
claim "each verb has help with an example" helps
claim "verbs of later versions are refused" absent
claim "no directory said" says 2 'hint: .*(TB_DIR|--dir)' tb status
claim "a directory without an instance" says 3 'hint:' tb status --dir "$work/nowhere"
claim "an instance is made" tb init --dir "$work/tb"
claim "but not where something is" says 5 'tb init: ' tb init --dir "$work/tb"
claim "its keys are nobody else's" is_private
claim "nothing is running: status reads the disk" says 4 '' tb status --dir "$work/tb"
claim "nothing is running: a backup is out of reach" says 4 'hint: .*tb up' tb backup --dir "$work/tb" --type full
claim "nothing is running: there is nothing to end" says 3 '' tb down --dir "$work/tb"
claim "it starts" up "$work/tb"
claim "a second one is refused" says 5 "already running, pid $instance" tb up --dir "$work/tb"
claim "a bad line stops with its number" stops_at_the_line
claim "a line that is not JSON" told 'good morning' 2 'line 1' tb publish --dir "$work/tb" --engine bad
claim "an illegal bit_phase" told '{"ghost":{"event_type":"ghost_trigger","trigger":"t","pair":"A→B","bit_phase":5}}' \
	2 'line 1.*bit_phase' tb publish --dir "$work/tb" --engine bad
claim "a static price" told '{"bar":{"symbol":"BTC","price":"50000.0","price_source":"static"}}' \
	2 'line 1.*static' tb publish --dir "$work/tb" --engine bad
claim "an engine's name that can't be one" told '' 2 '' tb publish --dir "$work/tb" --engine '../up'
claim "no engine's name" told '' 2 'engine' tb publish --dir "$work/tb"
claim "an unknown type of backup" says 2 'full' tb backup --dir "$work/tb" --type fuel
claim "a backup of an unknown stream" says 3 'nobody' tb backup --dir "$work/tb" --type full --stream nobody
id=$(tb backup --dir "$work/tb" --type full --stream good --wait)
claim "a backup" test -n "$id"
claim "an unknown backup to show" says 3 '' tb show FUL_19990101T000000Z_0000000000000000 --dir "$work/tb"
claim "an unknown backup to restore" says 3 '' tb restore --dir "$work/tb" --stream good --to null: \
	--backup FUL_19990101T000000Z_0000000000000000
claim "an unknown stream to restore" says 3 'nobody' tb restore --dir "$work/tb" --stream nobody --to null:
claim "an event that isn't there yet" says 3 '' tb restore --dir "$work/tb" --stream good --event 99 --to null:
claim "a moment that is no time" says 2 '' tb restore --dir "$work/tb" --stream good --at noon --to null:
claim "a target that is none" says 2 '' tb restore --dir "$work/tb" --stream good --to tape:
: >"$work/there"
claim "a target that is there" says 5 'hint: .*--force' tb restore --dir "$work/tb" --stream good --to "json:$work/there"
claim "it is replaced when that is said" tb restore --dir "$work/tb" --stream good --to "json:$work/there" --force
claim "nothing comes in time" says 4 '' tb wait BACKUP_READY --dir "$work/tb" --stream nobody --timeout 1s
claim "JSON is JSON" prints_json
claim "it ends" down "$work/tb"
claim "a wrong key" refuses_others
claim "a key that is none" says 7 '' tb restore --repo "$work/tb/repository" --key "$0" --stream good --to null:
claim "a repository that isn't there" says 3 '' tb verify --repo "$work/nowhere" --key "$work/tb/keys/identity.key"
cp -r "$work/tb/repository" "$work/copy"
claim "a whole repository is whole" says 0 '' tb verify --repo "$work/copy" --key "$work/tb/keys/identity.key"
claim "one flipped byte is found, and where" flipped
end

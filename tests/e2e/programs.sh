#!/usr/bin/env bash
# Each program says what it wants when it isn't called as it wants, and ends with the code for it; no two brokers serve one
# instance, and a broker says on what it stands when it starts.
. "$(dirname "$0")/lib.sh"

workers=(collector sealer storer signal)
instance=$work/tb

# ends_with CODE WORDS COMMAND…: that exit code, and the words in what it says.
ends_with()
{
	local wanted=$1 words=$2 code=0
	shift 2
	timeout 20 "$@" >"$work/said" 2>&1 || code=$?
	if [ $code -ne "$wanted" ] || ! grep -qF -- "$words" "$work/said"; then
		echo "exit code $code, not $wanted, or no \"$words\" in:"
		cat "$work/said"
		return 1
	fi
}

explains_itself() # PROGRAM
{
	ends_with 0 "usage: $1 " "$1" --help && ends_with 0 "$1 " "$1" --version &&
		ends_with 2 "--dir" "$1" && ends_with 2 "operand" "$1" --dir "$instance" operand &&
		ends_with 2 "--nonsense" "$1" --nonsense
}

claim "an instance is made" tb init --dir "$instance"
for program in tb-broker "${workers[@]/#/tb-}"; do
	claim "$program explains itself" explains_itself "$program"
done
claim "a broker wants an instance" ends_with 3 "tb.yaml" tb-broker --dir "$work/nothing"

with_config() # LINES CODE WORDS
{
	cp "$instance/tb.yaml" "$work/tb.yaml"
	printf '%b\n' "$1" >>"$instance/tb.yaml"
	ends_with "$2" "$3" tb-broker --dir "$instance"
	local rc=$?
	cp "$work/tb.yaml" "$instance/tb.yaml"
	return $rc
}
claim "windows that together are above what can be received are refused" \
	with_config 'window:\n  frames: 512\npublishers:\n  max: 1000' 2 "lower one of them"
claim "a name that nobody knows is refused with its line" with_config 'jurnal: 1' 2 "tb.yaml:"
claim "a group that there isn't is refused" with_config 'socket:\n  group: nobody-has-it' 2 "groupadd nobody-has-it"
claim "keys are looked for where the configuration says" \
	with_config 'listen:\n  request: tls+tcp://127.0.0.1:7499\n  keys: /nonexistent' 3 "/nonexistent"

named_group_gets_sockets() # it ends at the address, and the directory of the sockets is made before
{
	with_config "socket:\n  group: $(id -gn)\nlisten:\n  request: nonsense" 2 "nonsense" &&
		[ "$(stat -c '%G %a' "$instance/run")" = "$(id -gn) 710" ]
}
claim "a group is known by its name, and may pass to the sockets" named_group_gets_sockets
claim "an address that isn't one is refused" with_config 'listen:\n  request: nonsense' 2 "nonsense"

serving()
{
	spawn tb-broker --dir "$instance" 2>"$work/broker.log"
	broker=$spawned
	await 20 grep -q 'listens at' "$work/broker.log"
}

is_refused_beside()
{
	ends_with 5 "process $broker" tb-broker --dir "$instance"
}

worker() # NAME
{
	spawn "tb-$1" --dir "$instance" 2>"$work/$1.log"
	eval "$1=\$spawned"
}

says() # NAME WORDS
{
	await 30 grep -qF -- "$2" "$work/$1.log"
}

is_away()
{
	worker collector
	worker sealer
	sleep 1.5 # for their first turns
	ends "$broker"
	wait "$broker"
	says collector "doesn't answer" && says sealer "doesn't answer"
}

is_back()
{
	serving && says collector "the broker answers" && says sealer "the broker answers"
}

# What the collector has taken was of the journal that is gone. The sealer has nothing to lose by it.
has_another_journal()
{
	ends "$broker"
	wait "$broker"
	rm "$instance"/journal/*.tbj
	serving || return
	says collector "another journal" && says collector "hint: journal/ was lost or replaced" || return
	local code=0
	# shellcheck disable=SC2154 # by eval
	wait "$collector" || code=$?
	# shellcheck disable=SC2154
	same $code 5 && kill -0 "$sealer" && ends "$sealer" && wait "$sealer"
}

# What a power cut may leave: the beginning of a batch that nobody was told of.
torn()
{
	kill -KILL "$broker"
	wait "$broker" 2>/dev/null
	python3 - "$instance"/journal/*.tbj <<'SCRIPT'
import sys
with open(sys.argv[-1], "r+b") as file:
    end = len(file.read().rstrip(b"\0")) + 7 & ~7
    file.seek(end)
    file.write(b"TBB1 and then the power went")
SCRIPT
	serving && grep -q 'torn tail of 28 bytes' "$work/broker.log"
}

damaged()
{
	kill -TERM "$broker"
	wait "$broker"
	python3 - "$instance"/journal/*.tbj <<'SCRIPT'
import sys
with open(sys.argv[-1], "r+b") as file:
    file.seek(100)
    byte = file.read(1)[0]
    file.seek(100)
    file.write(bytes([byte ^ 1]))
SCRIPT
	ends_with 1 "is damaged at offset" tb-broker --dir "$instance"
}

# One that listens at addresses of hosts, too; and a worker of another host, which has nothing of the instance.
from_elsewhere()
{
	local port=$((20000 + $$ * 3 % 20000)) worker
	cp "$instance/tb.yaml" "$work/tb.yaml"
	printf 'listen:\n  request: tcp://127.0.0.1:%d\n  events: tcp://127.0.0.1:%d\n  topics: tcp://127.0.0.1:%d\n' \
		$port $((port + 1)) $((port + 2)) >>"$instance/tb.yaml"
	serving && await 20 grep -q "listens at tcp://127.0.0.1:$((port + 2)) too" "$work/broker.log" || return
	spawn tb-sealer --broker "tcp://127.0.0.1:$port" --key "$instance/keys/instance.pub" --bank "$work/bank" \
		2>"$work/elsewhere.log"
	worker=$spawned
	await 20 grep -q started "$work/elsewhere.log" && ends "$worker" && wait "$worker"
	local rc=$?
	ends "$broker" && wait "$broker" && cp "$work/tb.yaml" "$instance/tb.yaml" && [ $rc -eq 0 ]
}

claim "a broker serves other hosts, too, and a worker there needs no instance" from_elsewhere
claim "a broker serves" serving
claim "a second one is told who serves already" is_refused_beside
claim "workers say that their broker is away" is_away
claim "and that it is back" is_back
claim "a collector ends when the broker has another journal, a sealer goes on" has_another_journal
claim "a torn tail is cut, and that is said" torn
claim "damage is refused, and where" damaged
end

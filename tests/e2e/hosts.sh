#!/usr/bin/env bash
# Several hosts: each is a network namespace, with a cable between them. Workers and an engine on the second speak TLS with
# the broker on the first; who has no certificate gets nothing; cables are cut, and hosts vanish. Then a user who is only a
# member of the sockets' group publishes. Needs root.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

engine=${TB_FAR_ENGINE:-$TB_BIN/../tests/tb-far-engine}
near=tbn$$ far=tbf$$ address=10.203.77.1
dir=$work/tb

# Invoked by trap. What lib.sh ends, ends before its network goes.
# shellcheck disable=SC2329,SC2317
leave_hosts()
{
	leave
	ip netns del "$near" 2>/dev/null
	ip netns del "$far" 2>/dev/null
}
trap leave_hosts EXIT

cable()
{
	ip netns add "$far" && ip link add "v$near" type veth peer name "v$far" && ip link set "v$near" netns "$near" &&
		ip link set "v$far" netns "$far" && ip -n "$near" addr add "$address/24" dev "v$near" &&
		ip -n "$far" addr add 10.203.77.2/24 dev "v$far" && ip -n "$near" link set lo up && ip -n "$far" link set lo up &&
		ip -n "$near" link set "v$near" up && ip -n "$far" link set "v$far" up
}

if ! [ "$(id -u)" = 0 ] || ! ip netns add "$near" 2>/dev/null || ! nsenter --net="/run/netns/$near" true || ! cable 2>/dev/null; then
	skip 21 "hosts talk over TLS" "it takes root, ip, and leave to make network namespaces and cables"
	end
	exit
fi

# Not by `ip netns exec`, which makes mounts, too.
on_near() { nsenter --net="/run/netns/$near" "$@"; }

# here PROGRAM, there PROGRAM …: starts it on the first or second host; its log is in $work/NAME.log.
here() # NAME ARGUMENT…
{
	local name=$1
	shift
	spawn nsenter --net="/run/netns/$near" "tb-$name" --dir "$dir" "$@" 2>>"$work/near-$name.log"
	eval "near_$name=$spawned"
}

there() # NAME KEYS ARGUMENT…
{
	local name=$1 keys=$2
	shift 2
	spawn env TB_REPOSITORY="$dir/repository" nsenter --net="/run/netns/$far" "tb-$name" --broker "tls+tcp://$address:7401" \
		--tls "$keys" "$@" 2>>"$work/far-$name.log"
	eval "far_$name=$spawned"
}

status_has() # PYTHON: true of the status s
{
	tb status --dir "$dir" --json >"$work/status" 2>>"$work/status.log"
	python3 -c "import json, sys; s = json.load(open(sys.argv[1])); sys.exit(not ($1))" "$work/status"
}

# handled PID: how much the process with that pid has done.
handled()
{
	status_has "any(p['pid'] == $1 and p['handled'] > ${2:-0} for p in s['processes'])"
}

# Set by here and there.
near_sealer="" far_sealer=""

configure()
{
	mkdir -p "$work/other" "$work/banks"
	tb init --dir "$dir" && tb init --dir "$work/other/tb" && tb keys host far --dir "$dir" &&
		tb keys host far --dir "$work/other/tb" && cp -r "$dir/keys/hosts/far" "$work/keys" || return
	cat >>"$dir/tb.yaml" <<-END
		lease: 3s
		segment:
		  age: 100ms
		  size: 64KiB
		listen:
		  request: tls+tcp://$address:7401
		  events: tls+tcp://$address:7402
		  topics: tls+tcp://$address:7403
	END
}

starts()
{
	here broker
	await 20 grep -q 'listens at tls' "$work/near-broker.log" || return
	here sealer
	there collector "$work/keys" --key "$dir/keys/collector.key" --bank "$dir/banks/collector"
	there storer "$work/keys" --key "$work/keys/instance.pub" --bank "$dir/banks/storer"
	there signal "$work/keys" --key "$work/keys/instance.pub" --bank "$dir/banks/signal"
	await 30 status_has "{p['role'] for p in s['processes']} >= {'collector', 'sealer', 'storer', 'signal'}"
}

engine_there() # COUNT RATE
{
	on_far "$engine" "$work/keys" "tls+tcp://$address:7402" "tls+tcp://$address:7403" "tls+tcp://$address:7401" \
		"$work/book.outbox" book "$@"
}

on_far() { nsenter --net="/run/netns/$far" "$@"; }

engine_in_background()
{
	engine_there "$@" >"$work/engine.out" 2>&1 &
	running=$!
	started+=("$running")
}

engine_is_through()
{
	wait "$running" || { cat "$work/engine.out"; return 1; }
	sed 's/^/note: /' "$work/engine.out"
}

# A sealer that has nothing to do takes what comes: so there is to be enough for both.
both_have_sealed()
{
	engine_there 5000 0 >>"$work/share.out" 2>&1 || return
	handled "$near_sealer" "$1" && handled "$far_sealer"
}

takes_a_share_at_once()
{
	local before
	status_has True
	before=$(python3 -c "import json, sys; print(next(p['handled'] for p in json.load(open(sys.argv[1]))['processes'] \
		if p['pid'] == $near_sealer))" "$work/status")
	there sealer "$work/keys" --key "$work/keys/instance.pub" --bank "$work/banks/sealer"
	await 60 both_have_sealed "$before" || { cat "$work/share.out" "$work/far-sealer.log"; return 1; }
	echo "note: $(python3 -c "import json, sys; print(*('sealer %d: %d' % (p['pid'], p['handled']) \
		for p in json.load(open(sys.argv[1]))['processes'] if p['role'] == 'sealer'), sep=', ')" "$work/status")"
}

# Each event once, in order, as it was published.
exactly() # STREAM OUT: what the engine said at its end
{
	local accepted
	accepted=$(sed 's/ events,.*//' "$2")
	tb events --dir "$dir" --stream "$1" --json >"$work/events" || return
	python3 - "$work/events" "$accepted" <<-'SCRIPT'
		import json, sys
		count = 0
		for count, line in enumerate(open(sys.argv[1]), 1):
		    event = json.loads(line)
		    if event["number"] != count or event["delta"]["value"] != str(count):
		        sys.exit("in place %d: %s" % (count, line))
		print("note: %d events" % count)
		sys.exit(count != int(sys.argv[2]))
	SCRIPT
}

gets_nothing() # LOG TEXT COMMAND…: for some seconds, and is told why
{
	local log=$work/$1 text=$2 before
	shift 2
	status_has True
	before=$(json processes <"$work/status" | grep -o '"role"' | wc -l)
	on_far timeout 7 "$@" 2>"$log"
	cat "$log"
	grep -q "$text" "$log" && status_has "len(s['processes']) <= $before"
}

stranger() # KEYS [BROKER]: a sealer with these keys
{
	echo tb-sealer --broker "${2:-tls+tcp://$address:7401}" ${1:+--tls "$1"} --key "$work/keys/instance.pub" \
		--bank "$work/banks/stranger"
}

counted()
{
	await 10 status_has "s['refused'].get('unknown hosts', 0) > 0" && json refused <"$work/status" | sed 's/^/note: refused /'
}

cut_for() # SECONDS
{
	sleep 1
	ip -n "$near" link set "v$near" down && sleep "$1" && ip -n "$near" link set "v$near" up
}

under_load_the_cable_is_cut()
{
	engine_in_background 4000 500
	cut_for 4 || return
	engine_is_through
}

# The sealer there is at work and gone without a word: no cable, no process. What it had leased is done here.
vanishes()
{
	local before
	for name in collector storer signal; do
		eval "ends \$far_$name"
		here "$name" || return
	done
	await 30 status_has "{p['role'] for p in s['processes']} >= {'collector', 'storer', 'signal'}"
	on_near "$engine" - "ipc://$dir/run/events.ipc" "ipc://$dir/run/topics.ipc" "ipc://$dir/run/broker.ipc" \
		"$work/pit.outbox" pit 2000 500 >"$work/pit.out" 2>&1 &
	before=$!
	started+=("$before")
	sleep 1
	ip -n "$near" link set "v$near" down
	kill -KILL "$far_sealer"
	wait "$before" || { cat "$work/pit.out"; return 1; }
	await 30 status_has "all(p['pid'] != $far_sealer or p['state'] != 'healthy' or p['heartbeat_age_ms'] > 3000 \
		for p in s['processes'])"
	sed 's/^/note: /' "$work/pit.out"
}

all_end()
{
	for name in signal storer collector sealer broker; do
		eval "ends \$near_$name"
	done
}

# ---- the sockets' group

user=(setpriv --reuid=65534 --regid=65534)

group_engine() # GROUPS STREAM
{
	timeout 20 "${user[@]}" "$1" "$engine" - "ipc://$dir/run/events.ipc" "ipc://$dir/run/topics.ipc" \
		"ipc://$dir/run/broker.ipc" "$work/open/$2.outbox" "$2" 100 0
}

group_starts()
{
	mkdir -p "$work/open" && chmod 1777 "$work/open" && chmod 755 "$work" "$dir" && chmod 755 "$TB_BIN/.." || return
	sed -i '/^listen:/,$d' "$dir/tb.yaml"
	printf 'socket:\n  group: 4242\n' >>"$dir/tb.yaml"
	up "$dir" && same "$(stat -c '%a %g' "$dir/run" "$dir/run/broker.ipc" | tr '\n' ' ')" "710 4242 660 4242 "
}

refused()
{
	"${user[@]}" --clear-groups /usr/bin/python3 - "$dir/run/broker.ipc" <<-'SCRIPT'
		import socket, sys
		try:
		    socket.socket(socket.AF_UNIX).connect(sys.argv[1])
		except PermissionError:
		    sys.exit(0)
		sys.exit("it was let in")
	SCRIPT
}

knock_and_run()
{
	python3 - "$dir/run/events.ipc" <<-'SCRIPT'
		import socket, sys
		for i in range(20):
		    peer = socket.socket(socket.AF_UNIX)
		    peer.connect(sys.argv[1])
		    peer.close()
	SCRIPT
	grep -q 'events.ipc accepted nobody' "$dir/logs/broker.log"
}

# A peer that hangs up before it was greeted: whether that makes the listener deaf is a race, so it is tried until it did.
opened_anew()
{
	await 60 knock_and_run && await 20 same "$(stat -c '%a %g' "$dir/run/events.ipc")" "660 4242"
}

backs_up()
{
	local id
	id=$(tb backup --dir "$dir" --type full --stream book) || return
	await 30 eval "tb list --dir '$dir' | grep -q '$id'"
}

claim "an instance, and keys for the second host" configure
claim "without an encrypted way nothing listens beyond the loopback" eval \
	"! on_near timeout 10 tb-broker --dir '$dir' --listen-request tcp://$address:7499 2>'$work/open.log'; grep -q unprotected '$work/open.log'" ||
	cat "$work/open.log"
claim "collector, storer and signal work on the second host" starts
claim "an engine on the second host publishes until it is stored" engine_there 200 0
claim "a second sealer there takes a share at once" takes_a_share_at_once
# shellcheck disable=SC2046
claim "who has no keys isn't let try" gets_nothing none.log "isn't said where" $(stranger "")
# shellcheck disable=SC2046
claim "who speaks in the clear gets nothing" gets_nothing clear.log "nobody answers\|hangs up" \
	$(stranger "" "tcp://$address:7401#unprotected")
# shellcheck disable=SC2046
claim "a host of another instance gets nothing" gets_nothing other.log "isn't the broker of this instance" \
	$(stranger "$work/other/tb/keys/hosts/far")
claim "they are counted" counted
claim "the cable is cut for some seconds, and the engine goes on" under_load_the_cable_is_cut
claim "nothing is lost, nothing is twice" exactly book "$work/engine.out"
claim "a full backup is made by way of the second host" backs_up
claim "workers move to the first host; a sealer vanishes without a word, and its lease moves" vanishes
claim "nothing is lost there either" exactly pit "$work/pit.out"
claim "the repository is whole" tb verify --dir "$dir"
claim "everything ends" all_end
if command -v setpriv >/dev/null; then
	claim "with a group for its sockets it starts again" group_starts
	claim "a user in that group publishes" group_engine --groups=4242 member
	claim "one who isn't doesn't" refused
	claim "a listener that fell deaf is opened anew for the group, too" opened_anew
	claim "and the user goes on" group_engine --groups=4242 member
else
	skip 5 "users of a group publish" "there is no setpriv"
fi
end

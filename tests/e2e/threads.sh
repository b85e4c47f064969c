#!/usr/bin/env bash
# The publisher's threads under ThreadSanitizer: over a line that loses messages, and to a real broker that is killed and
# started again meanwhile. Builds in build-tsan what it needs.
. "$(dirname "$0")/lib.sh"

root=$(cd "$here/../.." && pwd)
build=${TB_TSAN_BUILD:-$root/build-tsan}
export TSAN_OPTIONS="halt_on_error=0 exitcode=66"

builds()
{
	cmake -S "$root" -B "$build" -G Ninja -DTB_THREAD_SANITIZE=ON &&
		ninja -C "$build" publisher-threads publisher-real
}

# watched COMMAND…: it succeeds, and the sanitizer has nothing to say. An old one doesn't start where addresses are
# randomized over more bits than it knows.
watched()
{
	timeout -k 5 150 setarch "$(uname -m)" -R "$@"
}

broker()
{
	spawn tb-broker --dir "$work/tb" 2>>"$work/broker.log"
	serving=$spawned
}

# Kills the broker each half second as long as the program runs.
killing_broker() # COMMAND…
{
	local program
	"$@" &
	program=$!
	started+=("$program")
	while sleep 0.5 && kill -0 "$program" 2>/dev/null; do
		kill -KILL "$serving"
		wait "$serving" 2>/dev/null
		broker
	done
	wait "$program"
}

if claim "the programs build with the sanitizer" builds; then
	claim "no race over a line that loses messages" watched "$build/tests/publisher-threads" 5
	claim "an instance is made" tb init --dir "$work/tb"
	broker
	claim "no race with a real broker" watched "$build/tests/publisher-real" "$work/tb" 3
	rm -f "$work"/tb/outbox/*
	ends "$serving"
	wait "$serving" 2>/dev/null
	rm -rf "$work/tb/journal"
	broker
	claim "no race while the broker is killed again and again" killing_broker watched "$build/tests/publisher-real" \
		"$work/tb" 3
fi
end

#!/usr/bin/env bash
# soak.sh [--long] [SEED]: each process is killed with -9 at random moments under load, the broker also with a large
# journal, and some are stopped for a while: nothing is lost, nothing is there twice, nobody has to help. Figures are on
# lines that begin with `figure`; deploy/soak makes a table of them.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

rounds=10 journal=$((1 << 30)) seconds=10 seed=$RANDOM
for argument; do
	case $argument in
	--long) rounds=200 journal=$((10 << 30)) seconds=60 ;;
	*[!0-9]*) echo "usage: soak.sh [--long] [SEED]" >&2 && exit 2 ;;
	*) seed=$argument ;;
	esac
done
engine=${TB_SOAK_ENGINE:-$TB_BIN/../tests/tb-soak-engine}

# What the last part found, also for the end of the page.
figures()
{
	sed -n 's/^figure /note: figure /p' "$work/part"
}

get() # NAME
{
	sed -n "s/^figure $1 //p" "$work/part"
}

part() # PART ARGUMENT…
{
	local what=$1
	shift
	"$here/soak.py" "$what" "$instance" "$work/tb" "$engine" "$@" >"$work/part" 2>"$work/part.err" ||
		{ cat "$work/part" "$work/part.err"; return 1; }
	figures
}

all_there() # STREAM LAST
{
	tb events --dir "$work/tb" --stream "$1" --json | "$here/soak.py" there "$2"
}

restores() # STREAM LAST
{
	tb restore --dir "$work/tb" --stream "$1" --to null: --json >"$work/restored" && same "$(json event <"$work/restored")" "$2"
}

nobody_helped()
{
	kill -0 "$instance" && same "$(pgrep -c -P "$instance")" 5
}

healthy()
{
	tb status --dir "$work/tb" >"$work/status"
}

# The share that others lose: a figure, judged with a wide margin here, as other programs run on the machine, too.
kept_their_rate()
{
	awk -v lost="$(get lost_percent)" 'BEGIN { exit !(lost < 25) }'
}

kept_small()
{
	[ "$(get broker_anonymous_bytes)" -lt $((64 << 20)) ]
}

echo "seed $seed"
mkdir "$work/tb" && rmdir "$work/tb"
claim "an instance starts" up "$work/tb"
if claim "each of six is killed $rounds times, and back by itself" part kills $rounds "$seed"; then
	last=$(get last)
	claim "every event of $last is there, once and in order" all_there soak "$last"
	claim "nobody had to help" nobody_helped
	claim "a full backup becomes ready" tb backup --dir "$work/tb" --type full --stream soak --wait
	claim "and restores" restores soak "$last"
fi
if claim "a sealer, a storer and a subscriber stop for $seconds s" part stopped $seconds; then
	claim "others keep their rate" kept_their_rate
	claim "the broker stays small" kept_small
	claim "and nothing is lost" all_there steady "$(get steady_last)"
fi
if claim "the broker comes back with a journal of $((journal >> 20)) MiB" part restarts $journal 5; then
	claim "and nothing is lost" all_there large "$(get large_last)"
fi
claim "all is well again" await 60 healthy
claim "the repository is whole" tb verify --dir "$work/tb"
claim "it ends" down "$work/tb"
end

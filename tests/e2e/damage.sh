#!/usr/bin/env bash
# damage.sh [--long] [SEED]: a repository is damaged in 500 (10,000) ways, one after another: verify finds each and says
# what is hit, and no restore gives wrong data.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

rounds=500 seed=7 events=3000
for argument; do
	case $argument in
	--long) rounds=10000 ;;
	*[!0-9]*) echo "usage: damage.sh [--long] [SEED]" >&2 && exit 2 ;;
	*) seed=$argument ;;
	esac
done

# In pieces, so that there are many segments.
publish() # FROM TO
{
	local at
	for ((at = $1; at <= $2; at += 250)); do
		sed -n "$at,$((at + 249 < $2 ? at + 249 : $2))p" "$work/events" | tb publish --dir "$work/tb" --engine book --wait stored >>"$work/published" ||
			return
	done
}

backup()
{
	tb backup --dir "$work/tb" --type full --stream book --wait
}

make_repository()
{
	mkdir "$work/tb" && rmdir "$work/tb"
	"$here/damage.py" publish "$work/events" $events "$seed"
	up "$work/tb" && publish 1 800 && backup && publish 801 1600 && cp -a "$work/tb/repository" "$work/old" &&
		backup && publish 1601 $events && backup && down "$work/tb"
}

is_sound()
{
	tb verify --dir "$work/tb" && tb verify --quick --dir "$work/tb"
}

if claim "a repository of $events events, full backups among them" make_repository; then
	claim "it is sound" is_sound
	claim "each of $rounds damages is found and told, and none gives wrong data" \
		"$here/damage.py" run "$work/tb" "$work/old" $events "$seed" $rounds
	claim "it is sound again" is_sound
fi
end

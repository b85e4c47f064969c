#!/usr/bin/env bash
# Whatever a power cut leaves on the disk opens, and holds what was promised.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

long=()
if [ "${1:-}" = --long ]; then
	long=(--long)
fi

explore()
{
	TB_BUILD=$(dirname "$TB_BIN") "$root/deploy/crash" "${long[@]}" >"$work/explored" 2>&1
	local rc=$?
	cat "$work/explored"
	echo "note: $(tail -n 1 "$work/explored")"
	return $rc
}

if [ -d /dev/shm ]; then
	claim "each state that a power cut could leave opens, with all that was promised; planted bugs are found" explore
else
	skip 1 "each state that a power cut could leave opens" "there is no /dev/shm to lay them out in"
fi
end

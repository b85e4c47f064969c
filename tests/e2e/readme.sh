#!/usr/bin/env bash
# What README.md tells to type works: all its ```sh blocks, one after the other in one shell, in a clean copy of the tree.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

copy()
{
	mkdir "$work/clone" || return
	if git -C "$root" rev-parse --verify --quiet HEAD >/dev/null; then
		git -C "$root" ls-files -z --cached --others --exclude-standard
	else
		cd "$root" && find . \( -path ./.git -o -path './build*' -o -path ./var \) -prune -o -type f -print0
	fi | tar -C "$root" --null --files-from - -c | tar -C "$work/clone" -x
}

# Each command is shown before it runs; the first that fails ends it. What is left running is ended.
type_it()
{
	{
		# shellcheck disable=SC2016 # for the shell that runs it
		echo 'trap "kill \$(jobs -p) 2>/dev/null || true; wait" EXIT'
		echo 'set -ev'
		awk '/^```sh$/ { on = 1; next } /^```$/ { on = 0 } on' "$work/clone/README.md"
	} >"$work/typed"
	[ "$(lines "$work/typed")" -gt 2 ] || return
	(cd "$work/clone" && env -u TB_BIN TMPDIR="$work" bash "$work/typed")
}

claim "a clean copy of the tree" copy
claim "every command of README.md works there" type_it
end

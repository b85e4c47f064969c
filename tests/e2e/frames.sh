#!/usr/bin/env bash
# Frames of real feeds come back byte for byte and in order, the repeated ones too.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

feeds=$shared/data/ws
if [ ! -d "$feeds" ]; then
	skip 12 "frames come back byte for byte" "no recordings in $shared (TB_SHARED)"
	end
	exit
fi

publish()
{
	unpack "$1" ws "$2" && tb publish --dir "$work/tb" --engine "$1" --wait stored <"$work/$1.jsonl"
}

come_back()
{
	tb events --dir "$work/tb" --stream "$1" --json >"$work/$1.events" &&
		frames.py "$2" "$work/$1.events"
}

claim "an instance starts" up "$work/tb"
for file in "$feeds"/*.jsonl.zst; do
	name=$(basename "$file" .jsonl.zst)
	claim "$name: published" publish "$name" "$file"
	claim "$name: every frame comes back, in order" come_back "$name" "$file"
done
claim "it ends" down "$work/tb"
end

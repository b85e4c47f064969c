#!/usr/bin/env bash
# Each fuzz target over its corpus and simple changes to it, in the ordinary build (or with sanitizers, by TB_BIN).
. "$(dirname "$0")/lib.sh"

cd "$work" || exit # what a target fails on is left where it runs
for seeds in "$here"/../fuzz/corpus/*; do
	target=$(basename "$seeds")
	claim "$target" "$TB_BIN/../tests/fuzz-$target" "$seeds"
done
end

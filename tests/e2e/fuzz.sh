#!/usr/bin/env bash
# Each fuzz target for a few seconds under libFuzzer and the sanitizers. Builds in build-fuzz.
. "$(dirname "$0")/lib.sh"

if ! command -v clang >/dev/null; then
	skip 1 "fuzzing" "no clang; deploy/fuzz installs it"
	end
	exit
fi
claim "the targets build" "$here/../../deploy/fuzz" --seconds 1 frame
for seeds in "$here"/../fuzz/corpus/*; do
	target=$(basename "$seeds")
	claim "$target" "$here/../../deploy/fuzz" --seconds "${TB_FUZZ_SECONDS:-2}" "$target"
done
end

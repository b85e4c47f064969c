#!/usr/bin/env bash
# The whole tree compiles without a warning: with gcc in the ordinary build, here with clang, in build-clang, and with gcc
# without optimization, which sees other things.
. "$(dirname "$0")/lib.sh"

root=$(cd "$here/../.." && pwd)

compiles() # COMPILER DIR CMAKE-OPTION…
{
	local compiler=$1 dir=$2
	shift 2
	CC=$compiler cmake -S "$root" -B "$dir" -G Ninja "$@" && ninja -C "$dir"
}

if command -v clang >/dev/null; then
	claim "clang has nothing to say" compiles clang "${TB_CLANG_BUILD:-$root/build-clang}"
else
	skip 1 "clang has nothing to say" "no clang"
fi
claim "gcc has nothing to say in a debug build" compiles gcc "${TB_DEBUG_BUILD:-$root/build-debug}" -DCMAKE_BUILD_TYPE=Debug
end

#!/usr/bin/env bash
# Real recordings come back at every checkpoint, from repository and identity alone, although a full backup was taken
# while they were being published. The digests were computed by the recordings' own script, and by points.py.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

books=$shared/data/book
expected=$books/expected-book.json
states=$shared/data/engine
away=$work/away

if [ ! -d "$books" ]; then
	skip 25 "recordings come back at every checkpoint" "no recordings in $shared (TB_SHARED)"
	end
	exit
fi

# feed NAME: a stream's lines, in three parts: at half time it says so, and the last tenth waits for the backup.
feed()
{
	local lines half most
	lines=$(lines "$work/$1.jsonl")
	half=$((lines / 2)) most=$((lines * 9 / 10))
	head -n "$half" "$work/$1.jsonl"
	: >"$work/$1.half"
	sed -n "$((half + 1)),${most}p" "$work/$1.jsonl"
	await 120 test -e "$work/$1.backed-up" || return
	tail -n +$((most + 1)) "$work/$1.jsonl"
}

# A stream is first known when something of it is durable.
back_up()
{
	await 60 test -e "$work/$1.half" || return
	await 60 tb backup --dir "$work/tb" --type full --stream "$1" --wait --json >"$work/$1.backup" 2>"$work/$1.backup.err" ||
		cat "$work/$1.backup.err" >&2
	: >"$work/$1.backed-up"
}

publish_and_back_up()
{
	spawn back_up "$1"
	feed "$1" | tb publish --dir "$work/tb" --engine "$1" --wait stored --json >"$work/$1.published" || return
	wait "$spawned"
	cat "$work/$1.published"
	same "$(json published <"$work/$1.published")" "$(lines "$work/$1.jsonl")" &&
		same "$(json last <"$work/$1.published")" "$(lines "$work/$1.jsonl")"
}

# The backup of a stream lies in the midst of what was published.
lies_within()
{
	local event lines
	lines=$(lines "$work/$1.jsonl")
	event=$(json event <"$work/$1.backup") || return
	echo "note: at event $event of $lines"
	[ "$event" -gt 0 ] && [ "$event" -lt "$lines" ]
}

names=()
recording() # NAME MODE FILE
{
	unpack "$1" "$2" "$3" || return
	names+=("$1")
	claim "$1: published while a full backup of it is made" publish_and_back_up "$1"
	claim "$1: the backup is of a moment in between" lies_within "$1"
}

claim "an instance starts" up "$work/tb"
for file in "$books"/*.jsonl.zst; do
	recording "$(basename "$file" .jsonl.zst)" book "$file"
done
for file in "$states"/*versions.jsonl.zst; do
	recording "$(basename "$file" .jsonl.zst)" states "$file"
done
claim "it ends" down "$work/tb"

mkdir "$away"
cp -r "$work/tb/repository" "$away/repository"
cp "$work/tb/keys/identity.key" "$away/identity.key"
rm -rf "$work/tb"

for name in "${names[@]}"; do
	for by in event time; do
		claim "$name: every checkpoint comes back by its $by" \
			points.py --repo "$away/repository" --key "$away/identity.key" --stream "$name" --by "$by" \
			--events "$work/$name.jsonl" --points "$work/$name.points" --expected "$expected"
	done
done
claim "the repository that was carried away is whole" tb verify --repo "$away/repository" --key "$away/identity.key"
end

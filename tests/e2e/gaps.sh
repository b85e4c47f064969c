#!/usr/bin/env bash
# Missing bars: reports over real recordings equal those that were computed by other programs, from CSV and from a stream.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

clean=usdcop_m5_2020_2022 mixed=usdcop_m5_mixedzone_2020_2022
period=(--calendar co-fx --from 2020-01-01 --to 2022-12-31)

# exits CODE COMMAND…
exits()
{
	local wanted=$1 rc=0
	shift
	"$@" || rc=$?
	same "$rc" "$wanted"
}

# report EXPECTED OPTION…: it has gaps, and is that one.
report()
{
	local expected=$1
	shift
	exits 1 tb gaps "${period[@]}" --json "$@" >"$work/report" &&
		gaps.py "$work/report" "$shared/data/usdcop/expected-gaps.$expected.json"
}

publishes() # NAME
{
	"$shared/tools/recording-to-events" bars "$shared/data/usdcop/$1.csv.zst" |
		tb publish --dir "$work/tb" --engine "$1" --wait stored
}

from_stream() # EXPECTED OPTION…
{
	local expected=$1
	shift
	exits 1 tb gaps --dir "$work/tb" "${period[@]}" --json "$@" >"$work/report" &&
		gaps.py "$work/report" "$shared/data/usdcop/expected-gaps.$expected.json" --any-source
}

small() # a week without bars but for one, twice
{
	cat >"$work/small.csv" <<'CSV'
time,symbol,open
2026-01-05 13:00:00,USD/COP,1
2026-01-05 13:00:00,USD/COP,1
2026-01-12 13:00:00,USD/COP,1
CSV
}

ranges_add_up()
{
	exits 1 tb gaps --calendar co-fx --from 2026-01-05 --to 2026-01-09 --csv "$work/small.csv" --zone UTC --ranges \
		--points 100 --patterns --json >"$work/report" || return
	python3 - "$work/report" <<'SCRIPT'
import json, sys
report = json.load(open(sys.argv[1]))
ranges = report["ranges"]
assert report["missing_bars"] == 299 and report["extra_rows"] == {"outside_period": 1}, report
assert [r["expected_points"] for r in ranges] == [100, 100, 99], ranges
assert sum(r["expected_points"] for r in ranges) == report["missing_bars"]
assert sorted(r["priority"] for r in ranges)[0] >= 80
assert report["quality"] == "critical" and report["patterns"]["total"] == 1
SCRIPT
}

naive_times_need_a_zone()
{
	exits 2 tb gaps --calendar co-fx --from 2026-01-05 --to 2026-01-09 --csv "$work/small.csv" 2>"$work/err" &&
		grep -q 'small.csv:2: .*has no offset' "$work/err" && grep -q '^hint: .*--zone' "$work/err"
}

bad_rows_are_named()
{
	printf 'time,open\n2026-01-05 13:00:00,1\nnever,1\n' >"$work/bad.csv"
	exits 2 tb gaps --calendar co-fx --from 2026-01-05 --to 2026-01-09 --csv "$work/bad.csv" --zone UTC 2>"$work/err" &&
		grep -q 'bad.csv:3: ' "$work/err"
}

two_symbols_are_told_apart()
{
	printf 'time,symbol\n2026-01-05 13:00:00,A\n2026-01-05 13:05:00,B\n' >"$work/two.csv"
	local call=(tb gaps --calendar co-fx --from 2026-01-05 --to 2026-01-05 --csv "$work/two.csv" --zone UTC --json)
	exits 2 "${call[@]}" 2>"$work/err" && grep -q -- --symbol "$work/err" || return
	exits 1 "${call[@]}" --symbol B >"$work/report" && same "$(json present_bars <"$work/report")" 1 &&
		exits 3 "${call[@]}" --symbol C
}

nothing_missing_is_0()
{
	{
		echo time
		for hour in 08 09 10 11 12; do
			for minute in 00 05 10 15 20 25 30 35 40 45 50 55; do
				echo "2026-01-05T$hour:$minute:00-05:00"
			done
		done
	} >"$work/full.csv"
	exits 0 tb gaps --calendar co-fx --from 2026-01-05 --to 2026-01-05 --csv "$work/full.csv" --json >"$work/report" &&
		same "$(json completeness quality <"$work/report" | tr '\n' ' ')" "1.0 excellent "
}

# Without --json the same is said in words.
is_readable()
{
	exits 1 tb gaps --calendar co-fx --from 2026-01-05 --to 2026-01-09 --csv - --zone UTC --ranges --patterns \
		<"$work/small.csv" >"$work/text" &&
		grep -q '^1 of 300 bars are there on 5 trading days' "$work/text" && grep -q CRITICAL "$work/text" &&
		grep -q '^FETCH FROM' "$work/text"
}

own_calendars()
{
	mkdir -p "$work/tb/calendars" && cat >"$work/tb/calendars/nyse.yaml" <<'YAML' || return
zone: America/New_York
interval: 30min
sessions: [ { days: mon-fri, open: "09:30", close: "16:00" } ]
holidays: { ics: nyse.ics }
YAML
	printf 'BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART;VALUE=DATE:20250704\r\nSUMMARY:Independence Day\r\nRRULE:FREQ=YEARLY\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n' \
		>"$work/tb/calendars/nyse.ics"
	exits 1 tb gaps --dir "$work/tb" --calendar nyse --from 2024-07-01 --to 2025-07-06 --csv "$work/small.csv" --zone UTC \
		--json >"$work/report" && json holidays <"$work/report" | grep -q '2025-07-04.*Independence Day'
}

small
claim "naive times need a zone" naive_times_need_a_zone
claim "a row that can't be read is named" bad_rows_are_named
claim "bars of two symbols aren't taken for one's" two_symbols_are_told_apart
claim "ranges to fetch add up to what is missing" ranges_add_up
claim "without gaps the exit code is 0" nothing_missing_is_0
claim "people can read it, too" is_readable
claim "a calendar that isn't there is 3" exits 3 tb gaps --calendar moon --from 2026-01-05 --to 2026-01-09 --csv "$work/small.csv"
claim "an instance starts" up "$work/tb"
claim "an instance has calendars of its own" own_calendars
claim "a stream that isn't there is 3" exits 3 tb gaps --dir "$work/tb" "${period[@]}" --stream none
if [ -d "$shared/data/usdcop" ]; then
	for name in $clean $mixed; do
		zstdcat "$shared/data/usdcop/$name.csv.zst" >"$work/$name.csv"
	done
	claim "gaps of the clean recording are the expected ones" report $clean --csv "$work/$clean.csv" --zone UTC
	claim "gaps of the one with mixed zones, too" report $mixed --csv "$work/$mixed.csv"
	claim "and so they are when its zones are repaired" report $mixed.zone-repaired --csv "$work/$mixed.csv" --repair-zone
	claim "the clean bars are published" publishes $clean
	claim "the mixed bars are published" publishes $mixed
	claim "the stream's gaps are the same" from_stream $clean --stream $clean
	claim "those of the mixed one, too" from_stream $mixed --stream $mixed
	claim "and when its zones are repaired" from_stream $mixed.zone-repaired --stream $mixed --repair-zone
	claim "it ends" down "$work/tb"
	claim "the archive alone gives the same" from_stream $clean --stream $clean
else
	skip 9 "gaps of recordings" "no recordings in $shared (TB_SHARED)"
	claim "it ends" down "$work/tb"
fi
end

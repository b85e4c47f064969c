#!/usr/bin/env python3
"""Is a report of `tb gaps --json` the expected one, in every gap and figure?

usage: gaps.py REPORT EXPECTED [--any-source]

--any-source: the bars came from a stream, which has rows of its own kind but the same bars."""
import json, sys

FIGURES = ["trading_days", "expected_bars", "present_bars", "missing_bars", "completeness", "duplicate_instants",
           "extra_rows", "off_grid_rows", "gaps_total", "counts", "fully_missing_sessions", "longest_gap",
           "split_at_session", "period"]
GAP = ["n", "first_missing", "last_missing", "first_missing_utc", "last_missing_utc", "missing_bars", "minutes",
       "severity", "sessions"]

got, expected = (json.load(open(path)) for path in sys.argv[1:3])
wrong = [(name, got[name], expected[name]) for name in FIGURES if got[name] != expected[name]]
rows = "rows_in_stream" if "--any-source" in sys.argv else "rows_in_file"
if got[rows] != expected["rows_in_file"]:
    wrong.append((rows, got[rows], expected["rows_in_file"]))
wrong += [(year, got["per_year"].get(year), figures) for year, figures in expected["per_year"].items()
          if got["per_year"].get(year) != figures]
if [day for day, _ in got["holidays"]] != [day for day, _ in expected["holidays"]]:
    wrong.append(("holidays", got["holidays"], expected["holidays"]))
if len(got["gaps"]) != len(expected["gaps"]):
    wrong.append(("gaps", len(got["gaps"]), len(expected["gaps"])))
for mine, theirs in zip(got["gaps"], expected["gaps"]):
    wrong += [("gap %d: %s" % (theirs["n"], name), mine[name], theirs[name]) for name in GAP
              if mine[name] != theirs[name]]
for name, mine, theirs in wrong[:20]:
    print("%s: %s, expected %s" % (name, mine, theirs))
sys.exit(1 if wrong else 0)

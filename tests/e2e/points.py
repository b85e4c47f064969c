#!/usr/bin/env python3
"""Restores a stream to many moments, each in a process of its own, and compares the digests.

The moments are the checkpoints of a recording (--points: {"checkpoints":[{"events","time_ns","keys","sha256"}]}) and
some between them. What is expected at each is computed here, too, from the published lines; where a checkpoint or
--expected names the digest, both must agree. A time's state is the one after the last event whose effective time (the
latest of all up to it) isn't later.
"""
import argparse
import base64
import concurrent.futures
import hashlib
import json
import os
import subprocess
import sys
import time

BETWEEN = 5  # moments that are no checkpoints


def arguments():
    parser = argparse.ArgumentParser()
    for name in ("repo", "key", "stream", "events", "points"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--by", choices=("event", "time"), required=True)
    parser.add_argument("--expected")
    parser.add_argument("--parallel", type=int, default=2)
    return parser.parse_args()


def value_of(delta):
    if "value_b64" in delta:
        return base64.b64decode(delta["value_b64"])
    return delta["value"].encode()


def digest_of(state):
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key + b"=" + state[key] + b"\n")
    return digest.hexdigest()


def effective_times(path):
    times, latest = [], 0
    with open(path, "rb") as lines:
        for line in lines:
            latest = max(latest, json.loads(line)["time_ns"])
            times.append(latest)
    return times


def states_at(path, wanted):
    """{event: (keys, digest)} for the events wanted."""
    found, state = {}, {}
    if 0 in wanted:
        found[0] = (0, digest_of(state))
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            delta = json.loads(line).get("delta")
            if delta is not None:
                key = delta["key"].encode()
                if delta.get("op") == "delete":
                    state.pop(key, None)
                else:
                    state[key] = value_of(delta)
            if number in wanted:
                found[number] = (len(state), digest_of(state))
    return found


def moments(args):
    """[(what to say to restore, event that it must give, digest that a checkpoint names or None)]"""
    with open(args.points) as file:
        points = json.load(file)["checkpoints"]
    times = effective_times(args.events)
    asked = [(p["events"], p["time_ns"], p["sha256"]) for p in points]
    asked += [(n, times[n - 1], None) for n in sorted({max(1, len(times) * i // BETWEEN) for i in range(BETWEEN)})]
    if args.by == "event":
        return [(["--event", str(n)], n, sha) for n, _, sha in asked]
    result = []
    for number, when, sha in asked:
        at = upper_bound(times, when)
        result.append((["--at", str(when)], at, sha if at == number else None))
    return result


def upper_bound(times, when):
    low, high = 0, len(times)
    while low < high:
        middle = (low + high) // 2
        if times[middle] <= when:
            low = middle + 1
        else:
            high = middle
    return low


def restore(args, where):
    command = ["tb", "restore", "--repo", args.repo, "--key", args.key, "--stream", args.stream]
    begun = time.monotonic()
    run = subprocess.run(command + where + ["--to", "null:", "--json"], capture_output=True, text=True)
    took = time.monotonic() - begun
    if run.returncode != 0:
        return None, took, "exit code %d: %s" % (run.returncode, run.stderr.strip())
    try:
        return json.loads(run.stdout), took, ""
    except ValueError:
        return None, took, "not JSON: " + run.stdout[:200]


def compare(got, event, keys, digest):
    wrong = []
    for name, wanted in (("event", event), ("keys", keys), ("digest", digest)):
        if got.get(name) != wanted:
            wrong.append("%s is %r, should be %r" % (name, got.get(name), wanted))
    return "; ".join(wrong)


def expected_by_others(args, points, found):
    """How many checkpoints of the recording's own list are among the points, which must be all."""
    if not args.expected or not os.path.exists(args.expected):
        return 0
    with open(args.expected) as file:
        listed = json.load(file).get(args.stream + ".jsonl.zst", {}).get("checkpoints", [])
    mine = {(p["time_ns"], p["keys"], p["sha256"]) for p in points}
    missing = [p for p in listed if (p["recv_ns"], p["keys"], p["sha256"]) not in mine]
    if missing:
        sys.exit("the recording's own list names digests that are not among the checkpoints: %r" % missing[:3])
    return len(listed)


def main():
    args = arguments()
    with open(args.points) as file:
        points = json.load(file)["checkpoints"]
    asked = moments(args)
    found = states_at(args.events, {event for _, event, _ in asked})
    listed = expected_by_others(args, points, found)
    failures, seconds = [], []
    with concurrent.futures.ThreadPoolExecutor(args.parallel) as pool:
        for (where, event, sha), (got, took, why) in zip(asked, pool.map(lambda one: restore(args, one[0]), asked)):
            keys, digest = found[event]
            if sha is not None and sha != digest:
                why = "the checkpoint names %s, the lines give %s" % (sha, digest)
            elif got is not None:
                why = compare(got, event, keys, digest)
            seconds.append(took)
            if why:
                failures.append("%s: %s" % (" ".join(where), why))
    named = sum(sha is not None for _, _, sha in asked)
    print("note: %d moments, %d of them checkpoints, %d of those in the recording's own list; %.2f s each, at most %.2f"
          % (len(asked), named, listed, sum(seconds) / len(seconds), max(seconds)))
    if args.by == "event" and named < len(points):
        failures.append("only %d of %d checkpoints were tried" % (named, len(points)))
    for failure in failures[:20]:
        print(failure)
    sys.exit(1 if failures else 0)


main()

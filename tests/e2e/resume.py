#!/usr/bin/env python3
"""An engine for resume.sh: makes up events, and knows the state after each of them.

  resume.py make SEED FROM COUNT [--keys N] [--size BYTES]   JSON lines for tb publish, events FROM+1..FROM+COUNT of that seed
  resume.py digest LINES [--first N] [--base STATE]          SHA-256 of the state after the first N lines (default: all),
                                                             which begins with what STATE, as restored to json:, holds
"""
import argparse
import hashlib
import json
import random


def delta(chance, options):
    key = "key:%05d" % chance.randrange(options.keys)
    if chance.random() < 0.2:
        return {"key": key, "op": "delete"}
    return {"key": key, "value": "%x" % chance.getrandbits(8 * chance.randrange(1, options.size) // 2 + 4)}


def event(chance, options, place):
    """Resets are within one call of make, and every third is never committed."""
    if place["open"] and chance.random() < 0.15:
        place["open"] = False
        place["count"] += 1
        return {"reset": "begin"} if place["count"] % 3 == 0 else {"reset": "commit"}
    if not place["open"] and place["resets"] and chance.random() < 0.03:
        place["open"] = True
        return {"reset": "begin"}
    if chance.random() < 0.3:
        return {"deltas": [delta(chance, options) for _ in range(chance.randrange(1, 9))]}
    return {"delta": delta(chance, options)}


def make(options):
    chance = random.Random("%d %d" % (options.seed, options.start))
    place = {"open": False, "count": 0, "resets": options.resets}
    lines = [event(chance, options, place) for _ in range(options.count)]
    if place["open"] or place["count"] % 3 == 0 and place["count"]:
        lines[-1] = {"reset": "commit"}
    for line in lines:
        print(json.dumps(line))


def change(state, one):
    if one.get("op") == "delete":
        state.pop(one["key"], None)
    else:
        state[one["key"]] = one["value"]


def states(lines, state):
    """Each state in turn; the same object."""
    beside = None
    for line in lines:
        record = json.loads(line)
        to = state if beside is None else beside
        if "delta" in record:
            change(to, record["delta"])
        for one in record.get("deltas", []):
            change(to, one)
        if record.get("reset") == "begin":
            beside = {}
        elif record.get("reset") == "commit" and beside is not None:
            state, beside = beside, None
        yield state


def digest(options):
    state = {}
    if options.base:
        with open(options.base) as file:
            state = {one["key"]: one["value"] for one in map(json.loads, file)}
    with open(options.lines) as file:
        lines = file.readlines()[:options.first]
    for state in states(lines, state):
        pass
    text = "".join("%s=%s\n" % (key, state[key]) for key in sorted(state))
    print(hashlib.sha256(text.encode()).hexdigest())


def main():
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    maker = verbs.add_parser("make")
    for name in ("seed", "start", "count"):
        maker.add_argument(name, type=int)
    maker.add_argument("--keys", type=int, default=200)
    maker.add_argument("--size", type=int, default=200)
    maker.add_argument("--resets", action="store_true")
    digester = verbs.add_parser("digest")
    digester.add_argument("lines")
    digester.add_argument("--first", type=int)
    digester.add_argument("--base")
    options = parser.parse_args()
    make(options) if options.verb == "make" else digest(options)


if __name__ == "__main__":
    main()

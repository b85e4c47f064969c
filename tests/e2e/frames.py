#!/usr/bin/env python3
"""usage: frames.py RECORDING.zst EVENTS.jsonl

Are the opaque events of EVENTS the lines of RECORDING, byte for byte, in order, with numbers 1, 2, 3 …?
"""
import base64
import json
import subprocess
import sys


def frames(path):
    unpacked = subprocess.run(["zstd", "-dcq", path], stdout=subprocess.PIPE, check=True).stdout
    return unpacked.removesuffix(b"\n").split(b"\n")


def data_of(event):
    opaque = event["opaque"]
    if "data_b64" in opaque:
        return base64.b64decode(opaque["data_b64"])
    return opaque["data"].encode()


def repeated(recorded):
    """Frames that are like an earlier one of their source but for the time at which they came."""
    seen = set()
    for frame in recorded:
        seen.add(frame[frame.index(b'"src"'):])
    return len(recorded) - len(seen)


def main():
    recorded, count = frames(sys.argv[1]), 0
    with open(sys.argv[2], "rb") as lines:
        for count, line in enumerate(lines, 1):
            event = json.loads(line)
            if event["number"] != count:
                sys.exit("line %d has number %d" % (count, event["number"]))
            if count > len(recorded) or data_of(event) != recorded[count - 1]:
                sys.exit("event %d is not frame %d of the recording" % (count, count))
    if count != len(recorded):
        sys.exit("%d events, but %d frames were recorded" % (count, len(recorded)))
    print("note: %d frames, %d of them repeat an earlier one" % (count, repeated(recorded)))


main()

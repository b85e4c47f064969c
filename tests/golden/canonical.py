#!/usr/bin/env python3
"""Recomputes the hashes of events that `tb events --json` prints, from their JSON alone.

usage: canonical.py EVENTS.jsonl [--kinds ghost,orbit,…]

An encoder of its own for the canonical bytes of proto/events.proto: fields in ascending order of their numbers, each as
often as it is set, shortest varints, metadata sorted by key. backup_hash is SHA-256 of them; memory_signature is SHA-256
of the bank's previous head (zeros at first) and backup_hash. With --kinds each of these must occur.
"""
import base64
import hashlib
import json
import struct
import sys

# field name in JSON: (number, type), in ascending order of the numbers
OUTCOME = {"success": (1, "bool"), "profit": (2, "double"), "volume": (3, "double"), "efficiency": (4, "double")}
DELTA = {"key": (1, "bytes"), "op": (2, "delete"), "value": (3, "bytes"), "category": (4, "text")}
META = {"key": (1, "text"), "value": (2, "text")}
BODIES = {
    "ghost": (10, {"event_type": (1, "text"), "trigger": (2, "text"), "pair": (3, "text"), "bit_phase": (4, "varint"),
                   "outcome": (5, "text"), "confidence": (6, "double")}),
    "orbit": (11, {"orbit_type": (1, "text"), "pairs": (2, "texts"), "bit_phase": (3, "varint"),
                   "confidence": (4, "double"), "outcome": (5, OUTCOME), "performance_score": (6, "double")}),
    "flip": (12, {"flip_type": (1, "text"), "pair": (2, "text"), "bit_phase": (3, "varint"),
                  "flip_value": (4, "varint"), "flip_pattern": (5, "text"), "confidence": (6, "double"),
                  "outcome": (7, OUTCOME)}),
    "delta": (13, DELTA),
    "bar": (14, {name: (at, "text") for at, name in enumerate(
        ("symbol", "open", "high", "low", "close", "volume", "price", "price_source"), 1)}),
    "opaque": (15, {"source": (1, "text"), "data": (2, "bytes")}),
    "deltas": (16, {"deltas": (1, [DELTA])}),
    "reset": (17, {"reset": (1, "commit")}),
    "lost": (18, {"from": (1, "varint"), "to": (2, "varint")}),
    "signal": (19, {"type": (1, "text"), "stream": (2, "text"), "record": (3, "bytes")}),
}
HEAD = {"time_ns": (1, "fixed64"), "mode": (2, "text"), "source": (3, "text"), "priority": (4, "varint"),
        "tags": (5, "texts"), "metadata": (6, [META])}
BANKS = ("ghost", "orbit", "flip")


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(number, wire):
    return varint(number << 3 | wire)


def counted(number, content):
    return tag(number, 2) + varint(len(content)) + content


def field(number, kind, value):
    if isinstance(kind, dict):
        return counted(number, message(kind, value))
    if isinstance(kind, list):
        return b"".join(counted(number, message(kind[0], one)) for one in value)
    if kind == "text":
        return counted(number, value.encode())
    if kind == "texts":
        return b"".join(counted(number, one.encode()) for one in value)
    if kind == "bytes":
        return counted(number, value)
    if kind == "double":
        return tag(number, 1) + struct.pack("<d", value)
    if kind == "fixed64":
        return tag(number, 1) + struct.pack("<Q", value)
    return tag(number, 0) + varint({"bool": int, "varint": int, "delete": "delete".__eq__,
                                    "commit": "commit".__eq__}[kind](value))


def message(fields, record):
    out = b""
    for name, (number, kind) in fields.items():
        if name + "_b64" in record:
            out += field(number, kind, base64.b64decode(record[name + "_b64"]))
        elif name in record:
            out += field(number, kind, record[name].encode() if kind == "bytes" else record[name])
    return out


def canonical(event):
    head = dict(event)
    if "metadata" in head:
        items = sorted(head["metadata"].items(), key=lambda item: item[0].encode())
        head["metadata"] = [{"key": key, "value": value} for key, value in items]
    kind = event["kind"]
    number, fields = BODIES[kind]
    body = event if kind in ("deltas", "reset") else event[kind]
    return message(HEAD, head) + counted(number, message(fields, body))


def bank_of(event):
    kind = event["kind"]
    body = event[kind]
    return event["stream"], kind, body["pairs"][0] if kind == "orbit" else body["pair"], body["bit_phase"]


class Checker:
    def __init__(self):
        self.heads, self.kinds, self.signatures = {}, {}, 0

    def event(self, event):
        """None, or what is wrong with it."""
        digest = hashlib.sha256(canonical(event)).digest()
        self.kinds[event["kind"]] = self.kinds.get(event["kind"], 0) + 1
        if event["backup_hash"] != digest.hex():
            return "backup_hash is %s, its canonical bytes give %s" % (event["backup_hash"], digest.hex())
        if event["kind"] not in BANKS:
            return None if "memory_signature" not in event else "a memory_signature, but its kind has no bank"
        bank = bank_of(event)
        self.heads[bank] = hashlib.sha256(self.heads.get(bank, bytes(32)) + digest).digest()
        if "memory_signature" in event:
            self.signatures += 1
            if event["memory_signature"] != self.heads[bank].hex():
                return "memory_signature is %s, its bank's chain gives %s" % (
                    event["memory_signature"], self.heads[bank].hex())
        return None


def main():
    checker, count = Checker(), 0
    with open(sys.argv[1], "rb") as lines:
        for count, line in enumerate(lines, 1):
            event = json.loads(line)
            wrong = checker.event(event)
            if wrong:
                sys.exit("%s: %s" % (event["event_id"], wrong))
    wanted = sys.argv[3].split(",") if sys.argv[2:3] == ["--kinds"] else []
    missing = [kind for kind in wanted if kind not in checker.kinds]
    if missing or count == 0:
        sys.exit("no such events: %s" % (", ".join(missing) or "none at all"))
    print("note: %d events (%s), %d memory signatures" % (
        count, ", ".join("%d %s" % (n, kind) for kind, n in sorted(checker.kinds.items())), checker.signatures))


if __name__ == "__main__":
    main()

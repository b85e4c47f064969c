#!/usr/bin/python3
"""Reads a repository: a stream's state at an event, from the repository's files and an identity alone.

usage: read_repository.py REPOSITORY KEY STREAM [--event N] [--digest]

KEY is the identity's key file or a recovery kit. Prints the state after event N (default: the last one) as JSON lines
in byte order of the keys, as `tb restore --to json:-` does; with --digest, its SHA-256 alone.

A reader of its own, after docs/FORMAT.md and proto/*.proto: it shares nothing with Tradebank, so what it can read,
anybody can. Checked on the way: names, signatures, certificate, chain, head, sizes, and the state sums recorded in the
manifests. Not checked: XXH3, which stands in frames against accidents, as an object's name and its tag say more.
Needs PyNaCl and zstandard (Debian: python3-nacl, python3-zstandard).
"""
import argparse
import base64
import hashlib
import json
import pathlib
import re
import struct
import sys

import nacl.bindings
import nacl.exceptions
import nacl.signing
import zstandard

PLAIN_MAX = 1 << 30
KEY_MAX, VALUE_MAX = 480, 16 << 20
SEGMENT, CHUNK, PRIVATE = 1, 2, 3
EVENTS = 1
DELTA, DELTAS, RESET = 13, 16, 17
INSIDE, APART = 1, 2  # flags of frames


class Bad(Exception):
    """Bytes are not what FORMAT.md says, or not what was signed."""


def need(holds, why):
    if not holds:
        raise Bad(why)


def blake(data, size=32):
    return hashlib.blake2b(data, digest_size=size).digest()


# ---- protobuf: fields as number -> list of values, in the order they came


def varint(data, at):
    value = shift = 0
    while True:
        need(at < len(data) and shift < 70, "a varint is cut short or too long")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            need(value < 1 << 64, "a varint is too large")
            return value, at


def counted(data, at):
    size, at = varint(data, at)
    need(size <= len(data) - at, "a field is cut short")
    return data[at:at + size], at + size


def message(data):
    fields, at = {}, 0
    while at < len(data):
        tag, at = varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = varint(data, at)
        elif wire == 2:
            value, at = counted(data, at)
        else:
            size = {1: 8, 5: 4}.get(wire)
            need(size and size <= len(data) - at, "a field of wire type %d" % wire)
            value, at = data[at:at + size], at + size
        fields.setdefault(number, []).append(value)
    return fields


class Record:
    """A message of which some fields are named: name=(number, kind), kind one of number, bytes, text, numbers, many."""

    def __init__(self, data, **names):
        fields = message(data)
        for name, (number, kind) in names.items():
            setattr(self, name, getattr(self, "_" + kind)(fields.get(number, [])))

    @staticmethod
    def _number(values):
        return values[-1] if values else 0

    @staticmethod
    def _bytes(values):
        return values[-1] if values else b""

    @staticmethod
    def _text(values):
        return values[-1].decode() if values else ""

    @staticmethod
    def _many(values):
        return values

    @staticmethod
    def _numbers(values):  # packed or not
        numbers = []
        for value in values:
            if isinstance(value, int):
                numbers.append(value)
                continue
            at = 0
            while at < len(value):
                number, at = varint(value, at)
                numbers.append(number)
        return numbers


# ---- keys


class Identity:
    """secret: X25519; instance: the Ed25519 key that everything is signed under; repository: id."""

    def __init__(self, path):
        text = path.read_bytes()
        fields = self.of_file(text) if text.startswith(b"tradebank-key ") else self.of_kit(text.decode())
        self.repository, self.instance, seed = fields
        public, self.secret = nacl.bindings.crypto_box_seed_keypair(seed)
        self.recipient = blake(public)[:16].hex()

    @staticmethod
    def of_file(text):
        lines = text.decode("ascii").split("\n")
        need(lines[0] == "tradebank-key 1" and lines[-1] == "", "not a key file, or of a newer format")
        fields = dict(line.split(": ") for line in lines[1:-1])
        need(fields.get("kind") == "identity", "a key of kind %s, not an identity" % fields.get("kind"))
        need(list(fields) == ["kind", "public", "secret", "instance", "repository", "check"], "not an identity's lines")
        before = text[:text.rindex(b"check: ")]
        need(fields["check"] == blake(before)[:8].hex(), "the key file's check does not hold")
        seed = bytes.fromhex(fields["secret"])
        need(nacl.bindings.crypto_box_seed_keypair(seed)[0].hex() == fields["public"],
             "the key's halves don't belong together")
        return bytes.fromhex(fields["repository"]), bytes.fromhex(fields["instance"]), seed

    @staticmethod
    def of_kit(text):
        rows = {}
        for label in ("id:", "instance-1:", "instance-2:", "secret-1:", "secret-2:", "whole:"):
            found = re.search(r"^[ \t]*" + label + r"([0-9a-f \t=-]*)\r?$", text, re.MULTILINE)
            digits = re.sub(r"[ \t=-]", "", found.group(1)) if found else ""
            need(len(digits) == 36, "the kit's row %s is missing or mistyped" % label)
            rows[label] = bytes.fromhex(digits[:32])
            need(blake(label.encode() + rows[label])[:2].hex() == digits[32:], "the kit's row %s is mistyped" % label)
        parts = list(rows.values())
        need(blake(b"".join(parts[:5]), 16) == parts[5], "the kit's rows don't belong together")
        return parts[0], parts[1] + parts[2], parts[3] + parts[4]


def verify(key, signed, signature, what):
    try:
        nacl.signing.VerifyKey(key).verify(signed, signature)
    except nacl.exceptions.BadSignatureError:
        raise Bad("the signature of %s does not hold" % what) from None


def unbox(box, secret, what):
    try:
        return nacl.bindings.crypto_box_seal_open(box, nacl.bindings.crypto_scalarmult_base(secret), secret)
    except nacl.exceptions.CryptoError:
        raise Bad("%s does not open" % what) from None


# ---- the repository


class Repository:
    def __init__(self, root, identity):
        self.root, self.identity = root, identity
        about = json.loads((root / "tradebank.json").read_text())
        need(about["format"] == 1, "a repository of format %s" % about["format"])
        need(bytes.fromhex(about["id"]) == identity.repository, "the identity is of another repository")
        self.periods = dict(self.open_periods())
        need(self.periods, "nothing is wrapped for this identity")

    def open_periods(self):
        for path in (self.root / "keys").glob("*/" + self.identity.recipient):
            wrap = path.read_bytes()
            need(len(wrap) == 264 and wrap[:8] == b"TBPERIOD", "%s is not a wrap" % path)
            verify(self.identity.instance, wrap[:120], wrap[120:184], path)
            period, public = wrap[8:24], wrap[24:56]
            need(period.hex() == path.parent.name, "%s is the wrap of another period" % path)
            need(wrap[64:80] == self.identity.repository and wrap[80:112] == self.identity.instance,
                 "%s is of another repository" % path)
            secret = unbox(wrap[184:], self.identity.secret, path)
            need(nacl.bindings.crypto_scalarmult_base(secret) == public, "%s: the halves don't belong together" % path)
            yield period, secret

    def certified(self, certificate, what):
        """The signer's key."""
        need(certificate[:8] == b"TBSIGNER" and certificate[64:80] == b"collector".ljust(16, b"\0"),
             "the certificate in %s is none of a collector" % what)
        need(certificate[40:56] == self.identity.repository, "the certificate in %s is of another repository" % what)
        verify(self.identity.instance, certificate[:80], certificate[80:], "the certificate in %s" % what)
        return certificate[8:40]

    def unseal(self, data, content, what):
        need(len(data) >= 136 and data[:7] == b"TBOBJCT", "%s is not an object" % what)
        need(data[7] == 1, "%s is of a newer format" % what)
        need(data[8] == content and data[9] in (0, 1) and data[10:16] == bytes(6), "%s has another head" % what)
        size, = struct.unpack_from("<Q", data, 16)
        need(size <= PLAIN_MAX, "%s is too large" % what)
        secret = self.periods.get(data[24:40])
        need(secret, "%s is of a period that this identity doesn't open" % what)
        key = unbox(data[40:120], secret, what)
        try:
            plain = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(data[120:], data[:120], bytes(24), key)
        except nacl.exceptions.CryptoError:
            raise Bad("%s does not open" % what) from None
        if data[9] == 1:
            plain = zstandard.ZstdDecompressor().decompress(plain, max_output_size=size)
        need(len(plain) == size, "%s has another size than it says" % what)
        return plain

    def read_object(self, reference, content):
        name = reference.name.hex()
        data = (self.root / "objects" / name[:2] / name).read_bytes()
        need(blake(data) == reference.name and len(data) == reference.size_stored, "object %s was altered" % name)
        plain = self.unseal(data, content, "object " + name)
        need(len(plain) == reference.size_plain, "object %s has another plain size than was signed" % name)
        return plain


class Manifest:
    def __init__(self, repository, path):
        data = path.read_bytes()
        need(len(data) >= 224 and data[:7] == b"TBMANIF", "%s is not a manifest" % path)
        need(data[7] == 1, "%s is of a newer format" % path)
        size, = struct.unpack_from("<I", data, 8)
        need(len(data) == 224 + size, "%s has another size than it says" % path)
        signer = repository.certified(data[16 + size:160 + size], path)
        verify(signer, data[:160 + size], data[160 + size:], path)
        self.hash = blake(data)
        record = self.record = Record(
            data[16:16 + size], format=(1, "number"), repository=(2, "bytes"), stream=(3, "text"), type=(4, "text"),
            backup=(5, "text"), chain=(6, "number"), before=(7, "bytes"), first=(8, "number"), to=(9, "number"),
            time_to_ns=(12, "number"), rejected=(15, "numbers"), objects=(16, "many"), private_box=(26, "bytes"))
        self.chain, self.first, self.to = record.chain, record.first, record.to
        self.objects = [Record(one, name=(1, "bytes"), size_stored=(2, "number"), size_plain=(3, "number"))
                        for one in record.objects]
        need(record.format == 1 and record.repository == repository.identity.repository, "%s is of elsewhere" % path)
        short = {"SEGMENT": "SEG", "FULL": "FUL"}.get(record.type)
        need(path.name == "%020d-%s-%s" % (self.to, short, record.backup) and path.parent.name == record.stream,
             "%s has another name than it says" % path)
        self.is_segment = short == "SEG"
        private = repository.unseal(record.private_box, PRIVATE, "the private part of %s" % path)
        self.private = Record(private, sum=(1, "bytes"), keys=(2, "number"))


def read_chain(repository, stream):
    """A stream's manifests, in the order of its chain, every link and the head checked."""
    folder = repository.root / "manifests" / stream
    need(folder.is_dir(), "there is no stream %s" % stream)
    chain = sorted((Manifest(repository, path) for path in folder.iterdir()), key=lambda one: one.chain)
    before = b""
    for number, one in enumerate(chain, 1):
        need(one.chain == number, "number %d of the chain of %s is missing" % (number, stream))
        need(one.record.before == before, "number %d of the chain of %s follows another one" % (number, stream))
        before = one.hash
    check_head(repository, stream, chain)
    return chain


def check_head(repository, stream, chain):
    path = max((repository.root / "heads" / stream).iterdir(), key=lambda one: one.name)
    head = path.read_bytes()
    need(len(head) == 424 and head[:8] == b"TBHEAD\0\x01", "%s is not a head" % path)
    number, last = struct.unpack_from("<QQ", head, 8)
    size, = struct.unpack_from("<H", head, 80)
    need(size <= 134 and head[82:82 + size].decode() == stream and head[82 + size:216] == bytes(134 - size),
         "%s is the head of another stream" % path)
    need(head[64:80] == repository.identity.repository and path.name == "%020d" % number, "%s is of elsewhere" % path)
    verify(repository.certified(head[216:360], path), head[:360], head[360:], path)
    need(1 <= number <= len(chain), "%s names manifest %d, which isn't there" % (path, number))
    named = chain[number - 1]
    need(named.hash == head[24:56], "%s names another manifest than is there" % path)
    need(last == max(one.to for one in chain[:number]), "%s names another last number than is there" % path)


# ---- the state


class State:
    def __init__(self):
        self.values, self.sum = {}, 0

    @staticmethod
    def term(key, value):
        counted_pair = struct.pack("<I", len(key)) + key + struct.pack("<I", len(value)) + value
        return int.from_bytes(blake(counted_pair), "little")

    def remove(self, key):
        value = self.values.pop(key, None)
        if value is not None:
            self.sum -= self.term(key, value)

    def put(self, key, value):
        need(1 <= len(key) <= KEY_MAX and len(value) <= VALUE_MAX, "a key or value of a size that can't be")
        self.remove(key)
        self.values[key] = value
        self.sum += self.term(key, value)

    def check(self, manifest):
        recorded = int.from_bytes(manifest.private.sum, "little")
        need(len(manifest.private.sum) == 32 and recorded == self.sum % (1 << 256),
             "the state after event %d is not the one that %s recorded" % (manifest.to, manifest.record.backup))
        need(manifest.private.keys == len(self.values), "there are %d keys after event %d, not %d" % (
            len(self.values), manifest.to, manifest.private.keys))

    def add_chunk(self, plain, after):
        """The last key."""
        at = 0
        while at < len(plain):
            key, at = counted(plain, at)
            value, at = counted(plain, at)
            need(after is None or key > after, "the keys of a chunk are not in order")
            self.put(key, value)
            after = key
        return after


class Replay:
    """A state that events change; beside it what an open reset has so far."""

    def __init__(self):
        self.state, self.beside, self.epoch = State(), None, 0

    def change(self, data):
        delta = Record(data, key=(1, "bytes"), remove=(2, "number"), value=(3, "bytes"))
        to = self.state if self.beside is None else self.beside
        if delta.remove:
            to.remove(delta.key)
        else:
            to.put(delta.key, delta.value)

    def reset(self, data, epoch, number):
        if not Record(data, commit=(1, "number")).commit:
            self.beside, self.epoch = State(), epoch
            return
        need(self.beside is not None, "event %d commits a reset, but none is open" % number)
        self.state, self.beside = self.beside, None

    def see(self, epoch, flags):
        if flags & APART or (not flags & INSIDE and epoch != self.epoch):
            self.beside = None

    def apply(self, epoch, number, canonical):
        fields = message(canonical)
        for delta in fields.get(DELTA, []):
            self.change(delta)
        for deltas in fields.get(DELTAS, []):
            for delta in message(deltas).get(1, []):
                self.change(delta)
        for reset in fields.get(RESET, []):
            self.reset(reset, epoch, number)


def events_of(plain, stream, manifest):
    """(epoch, flags, number, canonical bytes) of each event of a segment."""
    expected = manifest.first
    stream_hash = blake(stream.encode())[:8]
    at = 0
    while at < len(plain):
        need(len(plain) - at >= 64 and plain[at:at + 4] == b"TBF1", "a segment holds what is no frame")
        kind, flags, size, count = struct.unpack_from("<HHII", plain, at + 4)
        epoch, first = struct.unpack_from("<QQ", plain, at + 24)
        need(kind == EVENTS and flags & ~(INSIDE | APART) == 0 and plain[at + 16:at + 24] == stream_hash,
             "a segment holds another frame")
        need(first == expected, "a segment goes on at event %d, not %d" % (first, expected))
        need(size <= len(plain) - at - 64, "a segment's last frame is cut short")
        events = message(plain[at + 64:at + 64 + size])
        need(set(events) <= {1} and len(events.get(1, [])) == count, "a frame holds other events than it says")
        for number, canonical in enumerate(events.get(1, []), first):
            yield epoch, flags, number, canonical
            flags &= ~APART
        expected, at = first + count, at + 64 + size
    need(expected == manifest.to + 1, "a segment ends at another event than was signed")


class Restore:
    """From the newest full backup not after the event, or from nothing at event 1, by the segments behind it."""

    def __init__(self, repository, stream, event):
        self.repository, self.stream = repository, stream
        chain = read_chain(repository, stream)
        self.segments = sorted((one for one in chain if one.is_segment), key=lambda one: one.first)
        last = max((one.to for one in self.segments), default=0)
        self.event = last if event is None else event
        need(self.event <= last, "event %d isn't stored; the last one that is, is %d" % (self.event, last))
        backups = [one for one in chain if not one.is_segment and one.to <= self.event]
        self.base = max(backups, key=lambda one: (one.to, one.chain), default=None)
        self.replay, self.done = Replay(), 0

    def run(self):
        if self.base:
            self.read_base()
        for segment in self.segments:
            if segment.to > self.done and self.done < self.event:
                self.read_segment(segment)
        need(self.done == self.event, "event %d is in no segment" % self.event)
        return self.replay.state.values

    def read_base(self):
        after = None
        for reference in self.base.objects:
            after = self.replay.state.add_chunk(self.repository.read_object(reference, CHUNK), after)
        self.done = self.base.first - 1
        self.check_at(self.base)

    def check_at(self, manifest):
        """Between the base's `from` and `to` the state is none that ever was."""
        if self.done == manifest.to and (not self.base or self.done >= self.base.to):
            self.replay.state.check(manifest)

    def read_segment(self, segment):
        need(segment.first <= self.done + 1, "events from %d on are in no segment" % (self.done + 1))
        need(len(segment.objects) == 1, "a segment of %d objects" % len(segment.objects))
        plain = self.repository.read_object(segment.objects[0], SEGMENT)
        rejected = set(segment.record.rejected)
        for epoch, flags, number, canonical in events_of(plain, self.stream, segment):
            if self.done < number <= self.event:
                self.replay.see(epoch, flags)
                if number not in rejected:
                    self.replay.apply(epoch, number, canonical)
                self.done = number
                if self.base:
                    self.check_at(self.base)
        self.check_at(segment)


def as_text(data, name):
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {name + "_b64": base64.b64encode(data).decode()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("repository", type=pathlib.Path)
    parser.add_argument("key", type=pathlib.Path)
    parser.add_argument("stream")
    parser.add_argument("--event", type=int)
    parser.add_argument("--digest", action="store_true")
    options = parser.parse_args()
    repository = Repository(options.repository, Identity(options.key))
    values = Restore(repository, options.stream, options.event).run()
    digest = hashlib.sha256()
    for key in sorted(values):
        digest.update(key + b"=" + values[key] + b"\n")
        if not options.digest:
            line = {**as_text(key, "key"), **as_text(values[key], "value")}
            print(json.dumps(line, ensure_ascii=False, separators=(",", ":")))
    if options.digest:
        print(digest.hexdigest())


if __name__ == "__main__":
    try:
        main()
    except (Bad, OSError, ValueError, KeyError, zstandard.ZstdError) as error:
        sys.exit("read_repository.py: %s" % error)

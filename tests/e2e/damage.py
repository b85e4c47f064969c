#!/usr/bin/env python3
"""Damages a repository in one way after another, and looks at what verify and restore make of it.

    damage.py publish FILE EVENTS SEED          JSON lines for `tb publish`
    damage.py run DIR OLD EVENTS SEED COUNT     DIR: an instance that isn't running; OLD: its repository at an earlier time

After each damage: `tb verify` finds it, exits 1 and names the file, and the backups and event numbers where it has any;
`tb verify --quick` does, too, unless only an object's bytes were changed; a restore to a random event gives the right
state or none. Then the damage is undone."""
import collections
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys


def events(count, seed):
    """Yields (JSON object, changes) of each event: changes is a list of (key, value or None)."""
    chance = random.Random(seed)
    for number in range(count):
        changes = []
        for _ in range(chance.choice((1, 1, 1, 3))):
            key = "key:%d" % (chance.randrange(400) ** 2 // 400)
            value = None if chance.random() < 0.1 else "%d:%s" % (number, chance.randbytes(chance.randrange(60)).hex())
            changes.append((key, value))
        items = [{"key": key, "op": "delete"} if value is None else {"key": key, "value": value} for key, value in changes]
        yield ({"delta": items[0]} if len(items) == 1 else {"deltas": items}), changes


def digests(count, seed):
    """The digest of the state at each event, worked out here."""
    state, found = {}, {}
    for number, (_, changes) in enumerate(events(count, seed), 1):
        for key, value in changes:
            if value is None:
                state.pop(key, None)
            else:
                state[key] = value
        text = "".join("%s=%s\n" % (key, state[key]) for key in sorted(state))
        found[number] = hashlib.sha256(text.encode()).hexdigest()
    return found


class Repository:
    def __init__(self, directory, old, chance):
        self.root = os.path.join(directory, "repository")
        self.old = old
        self.chance = chance
        self.undo = []

    def files(self, *parts, root=None):
        root, found = root or self.root, []
        for folder, _, names in os.walk(os.path.join(root, *parts)):
            found += [os.path.relpath(os.path.join(folder, name), root) for name in names]
        return sorted(found)

    def read(self, name, root=None):
        with open(os.path.join(root or self.root, name), "rb") as file:
            return file.read()

    def write(self, name, data):
        """data None: removed."""
        path = os.path.join(self.root, name)
        self.undo.append((name, self.read(name) if os.path.exists(path) else None))
        self.set(path, data)

    @staticmethod
    def set(path, data):
        if os.path.exists(path):
            os.chmod(path, 0o600)
            os.unlink(path)
        if data is not None:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(data)

    def restore(self):
        for name, data in reversed(self.undo):
            self.set(os.path.join(self.root, name), data)
        self.undo = []


# Where it is missing there is no repository, as when its disk isn't mounted (3); it may say a newer format (5), or be
# another repository's (7).
FIRST = "tradebank.json"

# Each damage returns the names that it hit, one of which has to be named, and whether quick finds it; None: not possible.

def one(folder):
    return lambda repository: repository.chance.choice(repository.files(folder))


def flip(pick, quick):
    def damage(repository):
        name = pick(repository)
        data = bytearray(repository.read(name))
        bit = repository.chance.randrange(len(data) * 8)
        data[bit // 8] ^= 1 << bit % 8
        repository.write(name, bytes(data))
        return [name], quick
    return damage


def zero(pick, quick):
    def damage(repository):
        name = pick(repository)
        data = bytearray(repository.read(name))
        at = repository.chance.randrange(len(data))
        size = repository.chance.randrange(1, 4097)
        if not any(data[at:at + size]):
            return None
        data[at:at + size] = bytes(len(data[at:at + size]))
        repository.write(name, bytes(data))
        return [name], quick
    return damage


def cut(pick):
    def damage(repository):
        name = pick(repository)
        data = repository.read(name)
        repository.write(name, data[:repository.chance.randrange(len(data))])
        return [name], True
    return damage


def lengthen(pick):
    def damage(repository):
        name = pick(repository)
        repository.write(name, repository.read(name) + repository.chance.randbytes(repository.chance.randrange(1, 100)))
        return [name], True
    return damage


def delete(pick):
    def damage(repository):
        name = pick(repository)
        repository.write(name, None)
        return [name], True
    return damage


def misplace(folder, quick, both):
    """One file's bytes in another's place, as from a tape that was mixed up; both: and the other way round."""
    def damage(repository):
        first, second = repository.chance.sample(repository.files(folder), 2)
        one_data, other_data = repository.read(first), repository.read(second)
        if one_data == other_data:
            return None
        if both:
            repository.write(first, other_data)
        repository.write(second, one_data)
        return [first, second] if both else [second], quick or len(one_data) != len(other_data)
    return damage


def old_head(repository):
    """The newest head is gone, and the one of an earlier time is there again."""
    now = repository.chance.choice(repository.files("heads"))
    stream = os.path.dirname(now)
    before = os.path.join(stream, os.listdir(os.path.join(repository.old, stream))[0])
    if before == now:
        return None
    repository.write(now, None)
    repository.write(before, repository.read(before, repository.old))
    return [], True


def rolled_back(repository):
    """All of it as it was at an earlier time: sound in itself, but the instance remembers."""
    was, now = set(repository.files(root=repository.old)), set(repository.files())
    for name in now - was:
        repository.write(name, None)
    for name in was - now:
        repository.write(name, repository.read(name, repository.old))
    return [], True


def cut_short(repository):
    """The last manifests are gone, and the head with them."""
    head = repository.chance.choice(repository.files("heads"))
    stream = os.path.basename(os.path.dirname(head))
    for name in repository.files("manifests", stream)[-repository.chance.randrange(1, 4):]:
        repository.write(name, None)
    repository.write(head, None)
    return [], True


DAMAGES = {
    "a bit of an object": (8, flip(one("objects"), False)),
    "zeros in an object": (4, zero(one("objects"), False)),
    "an object cut": (4, cut(one("objects"))),
    "an object with more behind it": (2, lengthen(one("objects"))),
    "an object deleted": (4, delete(one("objects"))),
    "two objects swapped": (2, misplace("objects", False, both=True)),
    "an object in another's place": (2, misplace("objects", False, both=False)),
    "a bit of a manifest": (6, flip(one("manifests"), True)),
    "zeros in a manifest": (2, zero(one("manifests"), True)),
    "a manifest cut": (3, cut(one("manifests"))),
    "a manifest with more behind it": (1, lengthen(one("manifests"))),
    "a manifest deleted": (3, delete(one("manifests"))),
    "two manifests swapped": (2, misplace("manifests", True, both=True)),
    "a manifest in another's place": (2, misplace("manifests", True, both=False)),
    "a bit of a head": (3, flip(one("heads"), True)),
    "a head cut": (1, cut(one("heads"))),
    "a head deleted": (1, delete(one("heads"))),
    "an old head": (1, old_head),
    "rolled back": (1, rolled_back),
    "cut short": (1, cut_short),
    "a bit of a key": (3, flip(one("keys"), True)),
    "a key cut": (1, cut(one("keys"))),
    "a key deleted": (1, delete(one("keys"))),
    "a bit of tradebank.json": (2, flip(lambda _: FIRST, True)),
    "tradebank.json cut": (1, cut(lambda _: FIRST)),
    "tradebank.json deleted": (1, delete(lambda _: FIRST)),
}


def tb(*arguments):
    done = subprocess.run(["tb", *arguments], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode < 0 or done.returncode > 7:
        raise AssertionError("tb %s: exit code %d: %s" % (arguments[0], done.returncode, done.stderr[-800:]))
    return done


def check_verify(directory, names, quick):
    """What is wrong with verify's words; None: nothing."""
    done = tb("verify", "--json", "--dir", directory, "--key", os.path.join(directory, "keys/identity.key"),
              *(["--quick"] if quick else []))
    if done.returncode not in ((1, 3, 5, 7) if names == [FIRST] else (1,)):
        return "exit code %d: %s%s" % (done.returncode, done.stdout[-600:], done.stderr[-600:])
    if not done.stdout: # there is no repository to look at
        return None if any(name in done.stderr for name in names) else "not named: " + done.stderr
    found = json.loads(done.stdout)
    bad = [finding for finding in found["findings"] if not finding["harmless"]]
    if found["sound"] or not bad:
        return "called sound"
    hit = [name for name in names if name.startswith("objects/")]
    for finding in bad:
        if finding["path"] in hit and not (finding["backup"] and finding["stream"]):
            return "no backup named: %s" % finding
        if finding["path"] in hit and finding["to"] == 0 and "can still be restored" not in finding["detail"]:
            return "no numbers named: %s" % finding
    missing = [name for name in hit if not any(finding["path"] == name for finding in bad)]
    if missing and (not quick or len(missing) == len(hit)):
        return "not named: %s, but %s" % (missing, bad[:3])
    return None


def judge(directory, right, repository, name, chance, tally):
    """One damage, and what is made of it; how much of that is wrong."""
    wrong = 0
    done = DAMAGES[name][1](repository)
    if done is None:
        return 0
    hit, quick = done
    tally["damages"] += 1
    tally["for quick"] += quick
    for mode in ([False, True] if quick else [False]):
        complaint = check_verify(directory, hit, mode)
        tally["found by quick" if mode else "found by full"] += complaint is None
        if complaint is not None:
            wrong += 1
            print("%s %s, verify%s: %s" % (name, hit, " --quick" if mode else "", complaint))
    event = chance.choice(list(right))
    restored = tb("restore", "--json", "--dir", directory, "--stream", "book", "--event", str(event), "--to", "null:")
    if restored.returncode != 0:
        tally["refused"] += 1
    elif json.loads(restored.stdout)["digest"] == right[event]:
        tally["right"] += 1
    else:
        tally["wrong data"] += 1
        wrong += 1
        print("%s %s: event %d is restored wrongly" % (name, hit, event))
    return wrong


def run(directory, old, count, seed, rounds):
    chance = random.Random(seed)
    repository = Repository(directory, old, chance)
    right = digests(count, seed)
    tally = collections.Counter()
    names_of = list(DAMAGES)
    weights = [DAMAGES[name][0] for name in names_of]
    wrong = 0
    while tally["damages"] < rounds:
        try:
            wrong += judge(directory, right, repository, chance.choices(names_of, weights)[0], chance, tally)
        finally:
            repository.restore()
    print("note: %d damages: %d found by full, %d of %d by quick; restores: %d right, %d refused, %d with wrong data" % (
        tally["damages"], tally["found by full"], tally["found by quick"], tally["for quick"], tally["right"],
        tally["refused"], tally["wrong data"]))
    return wrong


def main():
    if sys.argv[1] == "publish":
        with open(sys.argv[2], "w", encoding="utf-8") as file:
            for line, _ in events(int(sys.argv[3]), int(sys.argv[4])):
                file.write(json.dumps(line) + "\n")
        return 0
    if len(sys.argv) != 7 or sys.argv[1] != "run" or shutil.which("tb") is None:
        print(__doc__, file=sys.stderr)
        return 2
    return run(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6])) != 0


sys.exit(main())

#!/usr/bin/env python3
"""What tests/e2e/soak.sh does to a running instance, and the figures that come of it, each a line `figure NAME VALUE`.

    soak.py kills UP DIR ENGINE ROUNDS SEED [--rate N]   kills of each process at random moments under load
    soak.py restarts UP DIR ENGINE BYTES ROUNDS          kills of the broker with so large a journal
    soak.py stopped UP DIR ENGINE SECONDS [--rate N]     a worker and a subscriber that hang
    soak.py there LAST                                   every event once and in order; reads `tb events --json` from stdin

UP is the pid of `tb up`, ENGINE the path of tb-soak-engine, whose page (its head says what is in it) is DIR/page-STREAM."""
import mmap
import os
import random
import signal
import struct
import subprocess
import sys
import time

KEYS = 5000
WORKERS = ("broker", "collector", "sealer", "storer", "signal")


class Failed(Exception):
    pass


class Page:
    NAMES = ("accepted", "durable", "stored", "full", "longest_ns")

    def __init__(self, path):
        with open(path, "a+b") as file:
            file.truncate(8 * len(self.NAMES))
            self.map = mmap.mmap(file.fileno(), 8 * len(self.NAMES))

    def __getattr__(self, name):
        return struct.unpack_from("<Q", self.map, 8 * self.NAMES.index(name))[0]


class Engine:
    def __init__(self, program, directory, stream, rate):
        self.command = [program, directory, stream, str(rate), os.path.join(directory, "page-" + stream)]
        self.page = Page(self.command[-1])
        self.stream = stream
        self.lives = 0
        self.process = None

    def start(self):
        self.process = subprocess.Popen(self.command)
        self.lives += 1

    def alive(self):
        if self.process.poll() is not None:
            raise Failed("the engine ended by itself with exit code %s" % self.process.returncode)

    def kill(self):
        self.alive()
        self.process.kill()
        self.process.wait()

    def end(self):
        self.alive()
        self.process.terminate()
        if self.process.wait(180) != 0:
            raise Failed("the engine ended with exit code %s" % self.process.returncode)

    def await_more(self, seconds, name="durable"):
        """Until more is durable than now; how long that took."""
        begun, was = time.monotonic(), getattr(self.page, name)
        while getattr(self.page, name) <= was:
            self.alive()
            if time.monotonic() - begun > seconds:
                raise Failed("nothing more became %s in %d s" % (name, seconds))
            time.sleep(0.0005)
        return time.monotonic() - begun


def figure(name, value):
    print("figure %s %s" % (name, value), flush=True)


def child(parent, name):
    """The pid of that worker, 0 while there is none."""
    with open("/proc/%d/task/%d/children" % (parent, parent), encoding="ascii") as file:
        for pid in file.read().split():
            try:
                with open("/proc/%s/comm" % pid, encoding="utf-8") as comm:
                    if comm.read().strip() == "tb-" + name:
                        return int(pid)
            except FileNotFoundError:
                pass
    return 0


def await_child(parent, name, other_than=0):
    until = time.monotonic() + 30
    while True:
        pid = child(parent, name)
        if pid not in (0, other_than):
            return pid
        if time.monotonic() > until:
            raise Failed("no %s within 30 s" % name)
        time.sleep(0.002)


def resident(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as file:
        for line in file:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


def kill_broker(up, engine):
    """How long until more is durable. What the dead one told may still be on its way for a moment."""
    os.kill(await_child(up, "broker"), signal.SIGKILL)
    begun = time.monotonic()
    time.sleep(0.01)
    engine.await_more(30)
    return time.monotonic() - begun


def kills(up, directory, program, rounds, seed, rate):
    chance = random.Random(seed)
    engine = Engine(program, directory, "soak", rate)
    engine.start()
    engine.await_more(30)
    begun, first, back = time.monotonic(), engine.page.accepted, []
    for _ in range(rounds):
        for name in chance.sample(WORKERS + ("engine",), 6):
            time.sleep(chance.uniform(0.05, 0.6))
            if name == "engine":
                engine.kill()
                engine.start()
            elif name == "broker":
                back.append(kill_broker(up, engine))
            else:
                os.kill(await_child(up, name), signal.SIGKILL)
    took, published = time.monotonic() - begun, engine.page.accepted - first
    for name in WORKERS:
        await_child(up, name)
    engine.end()
    back.sort()
    figure("kills", 6 * rounds)
    figure("rate", int(published / took))
    figure("last", engine.page.accepted)
    figure("broker_back_ms", "%.0f %.0f" % (1000 * back[len(back) // 2], 1000 * back[-1]))
    figure("outbox_full", engine.page.full)
    figure("publish_longest_ms", "%.1f" % (engine.page.longest_ns / 1e6))


def journal_bytes(directory):
    folder = os.path.join(directory, "journal")
    return sum(entry.stat().st_blocks * 512 for entry in os.scandir(folder))


def restarts(up, directory, program, size, rounds):
    """As fast as it goes until the journal is that large; then the broker is killed under a modest load."""
    engine = Engine(program, directory, "large", 2000000)
    engine.start()
    while journal_bytes(directory) < size:
        engine.alive()
        time.sleep(0.2)
    engine.end()
    engine = Engine(program, directory, "large", 1000)
    engine.start()
    back = []
    for _ in range(rounds):
        time.sleep(2.5) # so that it counts as having run
        engine.await_more(30)
        back.append(kill_broker(up, engine))
    figure("journal_bytes", journal_bytes(directory))
    engine.end()
    back.sort()
    figure("large_back_ms", "%.0f %.0f" % (1000 * back[len(back) // 2], 1000 * back[-1]))
    figure("large_last", engine.page.accepted)


def durable_rate(engine, seconds):
    begun, first = time.monotonic(), engine.page.durable
    time.sleep(seconds)
    engine.alive()
    return (engine.page.durable - first) / (time.monotonic() - begun)


def stopped(up, directory, program, seconds, rate):
    """One engine's rate, without and with a sealer, a storer and a subscriber of all topics that are stopped."""
    engine = Engine(program, directory, "steady", rate)
    engine.start()
    engine.await_more(30)
    before = durable_rate(engine, min(seconds, 15))
    watcher = subprocess.Popen(["tb", "watch", "--dir", directory], stdout=subprocess.DEVNULL)
    time.sleep(1)
    victims = [watcher.pid] + [await_child(up, name) for name in ("sealer", "storer")]
    for pid in victims:
        os.kill(pid, signal.SIGSTOP)
    try:
        during = durable_rate(engine, seconds)
        broker = resident(await_child(up, "broker"))
    finally:
        for pid in victims:
            os.kill(pid, signal.SIGCONT)
        watcher.terminate()
        watcher.wait()
    engine.end()
    figure("rate_before", int(before))
    figure("rate_stopped", int(during))
    figure("lost_percent", "%.1f" % (100 * (1 - during / before)))
    figure("broker_anonymous_bytes", broker)
    figure("steady_last", engine.page.accepted)


def there(last):
    number = 0
    for line in sys.stdin:
        number += 1
        if '"number":%d,' % number not in line or "%020d buy" % number not in line or \
                '"key:%d"' % (number * 7919 % KEYS) not in line:
            raise Failed("event %d is another: %s" % (number, line.strip()))
    if number != last:
        raise Failed("%d events are there, %d were accepted" % (number, last))


def main(arguments):
    rate = 60000
    if "--rate" in arguments:
        at = arguments.index("--rate")
        rate = int(arguments[at + 1])
        del arguments[at:at + 2]
    what, rest = arguments[0], arguments[1:]
    if what == "kills":
        kills(int(rest[0]), rest[1], rest[2], int(rest[3]), int(rest[4]), rate)
    elif what == "restarts":
        restarts(int(rest[0]), rest[1], rest[2], int(rest[3]), int(rest[4]))
    elif what == "stopped":
        stopped(int(rest[0]), rest[1], rest[2], int(rest[3]), rate)
    elif what == "there":
        there(int(rest[0]))
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


try:
    sys.exit(main(sys.argv[1:]))
except Failed as failed:
    print("soak.py: %s" % failed)
    sys.exit(1)

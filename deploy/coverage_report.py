#!/usr/bin/env python3
"""What gcov counted in a build, as rows; see deploy/coverage.

tests/coverage-excuses.txt has an excuse a line: a glob of files, a regular expression in slashes of the source line, and
the reason why no test has to reach such lines. A line is also excused when the statement that it goes on is; with a '+'
behind the expression, also what stands under such a line. An excuse that fits no line of any file is itself an error.
"""
import collections
import fnmatch
import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOMS = ("libtb/", "broker/")
TARGETS = ("tb", "tbgaps", "tbbroker", "tb-broker")  # whose objects are those of the rooms


def counts_of(build):
    """{path: {line: executions}} of the rooms' sources."""
    objects = []
    for target in TARGETS:
        for directory, _, names in os.walk(os.path.join(build, "CMakeFiles", target + ".dir")):
            objects += [os.path.join(directory, name) for name in names if name.endswith(".gcda")]
    lines = collections.defaultdict(lambda: collections.defaultdict(int))
    for begin in range(0, len(objects), 40):
        out = subprocess.run(["gcov", "--json-format", "--stdout", *objects[begin:begin + 40]], cwd=build,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
        for document in out.splitlines():
            for source in json.loads(document)["files"]:
                path = os.path.relpath(os.path.join(build, source["file"]), ROOT)
                if path.startswith(ROOMS) and path.endswith(".c"):
                    for line in source["lines"]:
                        lines[path][line["line_number"]] += line["count"]
    return lines


def never_run(lines):
    """Files of which no object ever ran have no counts at all."""
    for room in ROOMS:
        for directory, _, names in os.walk(os.path.join(ROOT, room)):
            for name in names:
                path = os.path.relpath(os.path.join(directory, name), ROOT)
                if name.endswith(".c") and path not in lines:
                    yield path


def read_excuses():
    excuses = []
    with open(os.path.join(ROOT, "tests/coverage-excuses.txt"), encoding="utf-8") as file:
        for text in file:
            match = re.match(r"(\S+)\s+/(.*)/(\+?)\s+(.+)", text)
            if match and not text.startswith("#"):
                excuses.append((match[1], re.compile(match[2]), match[3] == "+"))
    return excuses


def begin_of(source, index):
    """Where the statement begins that the line goes on."""
    while index > 0 and source[index - 1].rstrip()[-1:] in (",", "(", "+", "?", ":", "&", "|", "=", '"'):
        index -= 1
    return index


def indent_of(line):
    return len(line) - len(line.lstrip("\t"))


def heads_of(source, index):
    """The lines that it stands under, from the inside out."""
    indent = indent_of(source[index])
    while index > 0 and indent > 0:
        index -= 1
        if source[index].strip() and indent_of(source[index]) < indent:
            indent = indent_of(source[index])
            if source[index].strip() != "{":
                yield begin_of(source, index)
            else:
                indent += 1  # a function's body: its head is the line above


def excused(excuses, path, source, number):
    begin = begin_of(source, number - 1)
    own = (source[begin], source[number - 1])
    above = [source[head] for head in heads_of(source, begin)]
    for glob, pattern, covers in excuses:
        if fnmatch.fnmatch(path, glob) and any(pattern.search(line) for line in (*own, *(above if covers else ()))):
            return True
    return False


def stale(excuses):
    """Those that fit no line any more."""
    sources = {}
    for room in ROOMS:
        for directory, _, names in os.walk(os.path.join(ROOT, room)):
            for name in names:
                if name.endswith(".c"):
                    full = os.path.join(directory, name)
                    with open(full, encoding="utf-8") as file:
                        sources[os.path.relpath(full, ROOT)] = file.read().splitlines()
    for glob, pattern, _ in excuses:
        if not any(fnmatch.fnmatch(path, glob) and any(map(pattern.search, lines)) for path, lines in sources.items()):
            yield "%s /%s/" % (glob, pattern.pattern)


def main():
    build, *rest = sys.argv[1:]
    build = os.path.abspath(build)
    with_lines = "--lines" in rest
    wanted = [path for path in rest if path != "--lines"]
    counts, excuses = counts_of(build), read_excuses()
    total = collections.Counter()
    print("%-32s %6s %8s %9s %8s" % ("file", "lines", "reached", "excused", "open"))
    for path in sorted(counts):
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            source = file.read().splitlines()
        missed = [line for line, count in sorted(counts[path].items()) if count == 0]
        left = [line for line in missed if not excused(excuses, path, source, line)]
        figures = {"lines": len(counts[path]), "missed": len(missed), "open": len(left)}
        total.update(figures)
        if wanted and not any(path.startswith(prefix) for prefix in wanted):
            continue
        print("%-32s %6d %7.1f%% %9d %8d" % (path, figures["lines"],
                                            100 * (1 - len(missed) / max(1, figures["lines"])),
                                            len(missed) - len(left), len(left)))
        if with_lines:
            for line in left:
                print("%s:%d: %s" % (path, line, source[line - 1].strip()))
    for path in never_run(counts):
        print("%-32s never ran" % path)
    gone = list(stale(excuses))
    for text in gone:
        print("an excuse fits no line any more, remove it from tests/coverage-excuses.txt: %s" % text)
    if total["open"] > 0:
        print("write a test for each line that no test reaches, or an excuse in tests/coverage-excuses.txt; "
              "deploy/coverage --report --lines PATH shows them")
    print("%d of %d lines, %.2f %%; %d open" % (total["lines"] - total["missed"], total["lines"],
                                                100 * (1 - total["missed"] / max(1, total["lines"])), total["open"]))
    return 1 if total["open"] > 0 or gone else 0


if __name__ == "__main__":
    sys.exit(main())

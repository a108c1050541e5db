#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs test programs that speak TAP, two at a time, and counts.

run.py LEVEL SUMMARY PROGRAM...   LEVEL names the run; SUMMARY is a file to which its counts are added.
run.py --total SUMMARY            prints all counts, and the last line "N passed, N failed, N skipped".

A program that exits non-zero without a "not ok", prints no test at all, or does not end within its
time, is one failure. What failed is shown whole; what passed is only counted.
"""
import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import time

SKIPPED = re.compile(r"(not )?ok\b.*#\s*skip", re.I)
LIMIT_S = int(os.environ.get("TEST_TIMEOUT", "300"))


def run(program):
    start = time.monotonic()
    env = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP")
    p = subprocess.Popen([program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env,
                         stdin=subprocess.DEVNULL, start_new_session=True, errors="replace", text=True)
    try:
        out, _ = p.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(p.pid, signal.SIGKILL)
        out = p.communicate()[0] + f"\nnot ok - {program} did not end within {LIMIT_S} s\n"
    passed = failed = skipped = 0
    for line in out.splitlines():
        # cmocka writes a skipped test as "not ok N # SKIP"
        if SKIPPED.match(line):
            skipped += 1
        elif re.match(r"ok\b", line):
            passed += 1
        elif re.match(r"not ok\b", line):
            failed += 1
    if not failed and (p.returncode != 0 or not passed + skipped):
        failed = 1
        out += f"\nnot ok - {program}: exit status {p.returncode}, {passed} tests\n"
    return program, passed, failed, skipped, out, time.monotonic() - start


def level(name, summary, programs):
    start = time.monotonic()
    total = [0, 0, 0]
    print(f"== {name}", flush=True)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for program, p, f, s, out, took in pool.map(run, programs):
            total = [a + b for a, b in zip(total, (p, f, s))]
            skips = f", {s} skipped" if s else ""
            print(f"{'FAIL' if f else ' ok '} {program}: {p} passed, {f} failed{skips}, {took:.1f} s", flush=True)
            if f:
                print(out, flush=True)
            for line in out.splitlines():
                if SKIPPED.match(line):
                    print("     ", line, flush=True)
    took = time.monotonic() - start
    with open(summary, "a", encoding="utf-8") as file:
        file.write(f"{name}\t{total[0]}\t{total[1]}\t{total[2]}\t{took:.1f}\n")
    print(f"== {name}: {total[0]} passed, {total[1]} failed, {total[2]} skipped, {took:.1f} s", flush=True)
    return 1 if total[1] else 0


def totals(summary):
    total = [0, 0, 0]
    with open(summary, encoding="utf-8") as file:
        for line in file:
            name, p, f, s, took = line.rstrip("\n").split("\t")
            print(f"{name:32} {p:>5} passed {f:>4} failed {s:>4} skipped {took:>8} s")
            total = [a + int(b) for a, b in zip(total, (p, f, s))]
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped")
    return 1 if total[1] or not total[0] else 0


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--total":
        sys.exit(totals(sys.argv[2]))
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(level(sys.argv[1], sys.argv[2], sys.argv[3:]))

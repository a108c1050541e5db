#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures what a program waits for: every call of the library beside the round trip of a bare unix socket, and
the distribution's pcscd beside ours, over drivers that answer at once, in one run. tests/bench/README says how to read it.

As root the clients are user nobody, admitted by group smartcard, and the distribution's pcscd runs in a mount namespace
that ends with us; otherwise everything belongs to you, and only ours is measured.
"""
import argparse
import grp
import os
import platform
import pwd
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.realpath(__file__))
OURS, PCSCD = "ours", "pcscd"
GROUP = "smartcard"
READERS = 4
BUSY = 0.1  # of all CPUs' time: somebody else is at work
GRACE_S = 5  # after which a handler powers an unused card down
LIMIT_S = 300  # for one measurement, of some seconds each: one that waits for ever does not work

# ---- limits: of what, how many times the floor ----

WANTED = [
    ("Transmit 4 -> 2 bytes", 1.5),
    ("Transmit 4 -> 32768 bytes", 1.6),
    ("Establish + ReleaseContext", 1.0),
    ("Connect + Disconnect", 3.0),
    ("Connect + Disconnect, first", 6.0),
    ("Status", 0.2),
    ("GetStatusChange(0)", 0.2),
    ("Begin + EndTransaction", 2.2),
    ("transaction, End to Begin", 3.0),
]

# Not of this machine's speed alone, but of the order of things: (what, limit, unit).
MANY_FIRST, MANY_LATER = "ListReaders, 1,000 readers, first", "ListReaders, 1,000 readers, later"
MANY_EVENT, MANY_MEMORY = "insertion to event, 1,000 watched less 1 watched", "a reader's private dirty memory"
WANTED_ABSOLUTE = [
    (MANY_FIRST, 30, "ms"),
    (MANY_LATER, 1, "ms"),
    (MANY_EVENT, 5, "ms"),
    (MANY_MEMORY, 400, "KiB"),
]

# ---- processes ----


class Bed:
    """A directory with readers, and everything that must end with it."""

    def __init__(self, build, options):
        self.options = options
        self.dir = tempfile.mkdtemp(prefix="bench.")
        os.chmod(self.dir, 0o755)
        self.run = os.path.join(self.dir, "run")
        os.mkdir(self.run)
        self.processes = []
        self.cpu = min(os.sched_getaffinity(0))
        self.is_root = os.geteuid() == 0
        self.stacks = {OURS: self.copy(os.path.join(build, "libpcsclite.so.1"))}
        self.program = self.copy(os.path.join(build, "tests/bench"))
        self.handler = os.path.join(build, "tests/ifdhandler-instant")
        if os.environ.get("PCSCD_PID"):
            self.stacks[PCSCD] = os.environ["PCSCD_LIBRARY"]
            self.pcscd = int(os.environ["PCSCD_PID"])
        self.client = {}
        if self.is_root:
            nobody = pwd.getpwnam("nobody")
            self.client = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [self.add_group()]}

    def copy(self, path):
        """Where any user can reach it."""
        return shutil.copy(path, self.dir)

    def add_group(self):
        """The group that may use readers, where the system has none: for us and the handlers only."""
        try:
            return grp.getgrnam(GROUP).gr_gid
        except KeyError:
            pass
        path = os.path.join(self.dir, "group")
        gid = 1 + max(g.gr_gid for g in grp.getgrall() if g.gr_gid < 60000)
        with open("/etc/group", encoding="utf-8") as old, open(path, "w", encoding="utf-8") as new:
            new.write(old.read() + f"{GROUP}:x:{gid}:\n")
        subprocess.run(["mount", "--bind", path, "/etc/group"], check=True)
        return gid

    def start(self, directory, n):
        """n handlers; their readers exist when this returns."""
        started = []
        for i in range(n):
            sock = os.path.join(directory, f"bench-{i}.sock")
            started.append(subprocess.Popen([self.handler, "--driver", "virtual", "--socket", sock],
                                            stderr=subprocess.DEVNULL))
        self.processes += started
        end = time.monotonic() + 60
        while len([f for f in os.listdir(directory) if f.endswith(".reader")]) < n:
            if time.monotonic() > end or any(p.poll() is not None for p in started):
                raise RuntimeError("the handlers do not start")
            time.sleep(0.02)
        return [p.pid for p in started]

    def bench(self, measurement, *options, directory=None, stacks=None):
        """Starts the program; its lines are for rows()."""
        stacks = stacks or self.stacks
        env = dict(os.environ, IFDHANDLER_PATH=directory or self.run)
        return subprocess.Popen([self.program, measurement, *options, *(f"{k}={v}" for k, v in stacks.items())],
                                stdout=subprocess.PIPE, text=True, env=env, **self.client)

    def stop(self, pids):
        """They must end as handlers do."""
        stopped = [p for p in self.processes if p.pid in pids]
        self.processes = [p for p in self.processes if p.pid not in pids]
        for p in stopped:
            p.terminate()
        if any([p.wait() for p in stopped]):
            raise RuntimeError("a handler has failed")

    def close(self):
        for p in self.processes:
            p.kill()
            p.wait()
        if os.path.ismount("/etc/group"):
            subprocess.run(["umount", "/etc/group"], check=False)
        shutil.rmtree(self.dir, ignore_errors=True)


def tasks(pid):
    return [int(t) for t in os.listdir(f"/proc/{pid}/task")]


def pin(pids, cpus):
    for pid in pids:
        for task in tasks(pid):
            os.sched_setaffinity(task, cpus)


def rows(process):
    """What a measurement printed, as lists of fields. It works or everything ends."""
    command = " ".join(process.args[1:])
    try:
        out = process.communicate(timeout=LIMIT_S)[0]
    except subprocess.TimeoutExpired:
        process.kill()  # and its children with it
        raise RuntimeError(f"did not end within {LIMIT_S} s: {command}") from None
    if process.returncode != 0:
        raise RuntimeError(f"has failed: {command}")
    return [line.split("\t") for line in out.splitlines()]


# ---- tables ----


class Results:
    """(stack, name) -> fields, in order of the names."""

    def __init__(self, lines):
        self.names = []
        self.of = {}
        for kind, stack, name, *fields in lines:
            if kind == "ready":
                continue
            if name not in self.names:
                self.names.append(name)
            self.of[stack, name] = [None if f == "" else float(f) for f in fields]

    def get(self, stack, name, field=0):
        return self.of[stack, name][field] if (stack, name) in self.of else None


def number(value, digits=2):
    return "-" if value is None else f"{value:,.{digits}f}"


def table(title, head, lines):
    print(f"\n{title}")
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    for line in [head, *lines]:
        print("  " + "  ".join(f"{cell:<{w}}" if i == 0 else f"{cell:>{w}}"
                               for i, (cell, w) in enumerate(zip(line, widths))))
    sys.stdout.flush()


def times_table(title, results, stacks):
    head = [""]
    for stack in stacks:
        head += [stack, "p99", "x floor"]
    if len(stacks) > 1:
        head.append(f"{stacks[1]} / {stacks[0]}")
    lines = []
    for name in results.names:
        floor = results.get("floor", name)
        if floor is not None:
            cells = [name, number(floor), number(results.get("floor", name, 1)),
                     number(results.get("floor", name, 2))]
            lines.append(cells + [""] * (len(head) - len(cells)))
            continue
        cells = [name]
        for stack in stacks:
            cells += [number(results.get(stack, name, field)) for field in range(3)]
        if len(stacks) > 1:
            a, b = (results.get(stack, name, 2) for stack in stacks[:2])
            cells.append(number(b / a, 1) if a and b else "-")
        lines.append(cells)
    table(f"{title} (median and 99th percentile in microseconds)", head, lines)


def values_table(title, results, stacks, digits=0):
    lines = [[name, *(number(results.get(stack, name), digits) for stack in stacks)] for name in results.names]
    table(title, ["", *stacks], lines)


# ---- measurements ----


def measure_times(bed, handlers, where):
    """Calls, hand-over and insertion; `where` is "pinned" or "free"."""
    o = bed.options
    cpus = {bed.cpu} if where == "pinned" else os.sched_getaffinity(0)
    pin(handlers, cpus)
    if PCSCD in bed.stacks:
        pin([bed.pcscd], cpus)
    options = ["--rounds", str(o.rounds), "--batch", str(o.batch), "--seconds", str(o.seconds)]
    options += ["--cpu", str(bed.cpu)] if where == "pinned" else []
    lines = rows(bed.bench("calls", *options))
    lines += rows(bed.bench("handover", *options))
    lines += rows(bed.bench("insertion", *options))
    results = Results(lines)
    times_table("All on one CPU" if where == "pinned" else "On any CPU", results, list(bed.stacks))
    return results


def measure_clients(bed):
    results = Results(rows(bed.bench("clients", "--seconds", str(bed.options.seconds))))
    values_table("Commands in a second, 4 -> 2 bytes, on any CPU", results, list(bed.stacks))


def fake_readers(directory, n):
    """Readers whose handlers have exited: descriptions, and sockets that somebody listens on."""
    os.mkdir(directory)
    sockets = []
    for i in range(n):
        instance = f"{1 + i // 100:03}-{i % 100:03}"
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.bind(os.path.join(directory, instance + ".sock"))
        s.listen()
        os.chmod(os.path.join(directory, instance + ".sock"), 0o666)
        sockets.append(s)
        with open(os.path.join(directory, instance + ".reader"), "w", encoding="ascii") as f:
            f.write(f"version=1\ninstance={instance}\ndevice=/dev/bus/usb/{instance.replace('-', '/')}\n"
                    f"by-path=pci-0000_00_14_0-usb-0_{i}\nid=08e6:3437\nserial={i:08X}\ndriver=ccid\nseq={i + 1}\n"
                    f"registered=1\nreader=0 Gemalto PC Twin Reader ({i:08X}) 00 00\n")
    return sockets


def measure_lists(bed, absolute):
    lines = []
    for n in bed.options.lists:
        directory = os.path.join(bed.dir, f"list-{n}")
        sockets = fake_readers(directory, n)
        results = Results(rows(bed.bench("list", "--rounds", str(min(bed.options.rounds, 50)), directory=directory,
                                         stacks={OURS: bed.stacks[OURS]})))
        for s in sockets:
            s.close()
        first, later = (results.get(OURS, name) for name in results.names)
        if n == 1000:
            absolute.update({MANY_FIRST: first / 1e3, MANY_LATER: later / 1e3})
        lines.append([f"{n:,}", *(number(results.get(OURS, name, field)) for name in results.names
                                  for field in range(2))])
    table("ListReaders with so many readers whose handlers have exited (microseconds)",
          ["readers", "first", "p99", "later", "p99"], lines)


def private_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Private_Dirty:"))


def measure_memory(bed, fresh, used):
    lines = rows(bed.bench("memory"))
    lines.append(["kib", OURS, "a reader, never used", fresh])
    lines.append(["kib", OURS, "a reader, after all this", private_kib(used)])
    if PCSCD in bed.stacks:
        lines.append(["kib", PCSCD, f"the daemon, {READERS} readers, after all this", private_kib(bed.pcscd)])
    values_table("Private dirty memory (KiB)", Results(lines), list(bed.stacks))


def switches(pid):
    total = 0
    for task in tasks(pid):
        with open(f"/proc/{pid}/task/{task}/status", encoding="ascii", errors="replace") as f:
            total += sum(int(line.split()[1]) for line in f if "ctxt_switches" in line)
    return total


def measure_rest(bed, handler):
    """A client with a card and a watch, while nothing happens."""
    daemons = {OURS: handler}
    if PCSCD in bed.stacks:
        daemons[PCSCD] = bed.pcscd
    # what earlier clients have left to be done, as powering a card down, is over by then; the end is after what is counted
    process = bed.bench("idle", "--seconds", str(bed.options.rest + GRACE_S + 2))
    for _ in bed.stacks:
        process.stdout.readline()
    time.sleep(GRACE_S + 1)
    before, start = {k: switches(pid) for k, pid in daemons.items()}, time.monotonic()
    time.sleep(bed.options.rest)
    minutes = (time.monotonic() - start) / 60
    lines = [["rate", k, "handler or daemon", (switches(pid) - before[k]) / minutes] for k, pid in daemons.items()]
    lines += rows(process)
    values_table(f"Wake-ups in a minute at rest, with a client that watches (over {bed.options.rest:g} s)",
                 Results(lines), list(bed.stacks), 1)


def measure_many(bed, absolute):
    """So many handlers at a time."""
    n = bed.options.many
    directory = os.path.join(bed.dir, "many")
    os.mkdir(directory)
    start = time.monotonic()
    pids = bed.start(directory, n)
    took = time.monotonic() - start
    # that of one that nobody has used yet, and of one that was watched
    idle = sorted(map(private_kib, pids))[n // 2]
    few = ["--rounds", str(min(bed.options.rounds, 20)), "--seconds", str(bed.options.seconds)]
    results = Results(rows(bed.bench("list", *few, directory=directory, stacks={OURS: bed.stacks[OURS]})) +
                      rows(bed.bench("insertion", *few, directory=directory, stacks={OURS: bed.stacks[OURS]})))
    watched = sorted(map(private_kib, pids))[n // 2]
    if n == 1000:
        one, every = (results.get(OURS, name) for name in results.names[2:])
        absolute.update({MANY_EVENT: (every - one) / 1e3, MANY_MEMORY: max(idle, watched)})
    lines = [["start of all, s", number(took)],
             ["private dirty memory of one, KiB: never used", number(idle, 0)],
             ["private dirty memory of one, KiB: was watched", number(watched, 0)]]
    lines += [[f"{name}, us", number(results.get(OURS, name))] for name in results.names]
    table(f"{n:,} handlers at a time", ["", OURS], lines)
    bed.stop(set(pids))


def verdict(results, absolute):
    lines = []
    for name, limit in WANTED if results else []:
        ratio = results.get(OURS, name, 2)
        lines.append([name, f"{limit:g} x floor", f"{ratio:.2f} x", "yes" if ratio <= limit else "NO"])
    for name, limit, unit in WANTED_ABSOLUTE:
        if name in absolute:
            value = absolute[name]
            lines.append([name, f"{limit:g} {unit}", f"{value:.2f} {unit}", "yes" if value <= limit else "NO"])
    if lines:
        table("Wanted (multiples of the floor: all on one CPU)", ["", "wanted", "measured", "met"], lines)


def cpu_times():
    """Of all CPUs since boot: idle, and all."""
    with open("/proc/stat", encoding="ascii") as f:
        times = [int(t) for t in f.readline().split()[1:9]]
    return times[3] + times[4], sum(times)


def busy_share():
    idle, total = cpu_times()
    time.sleep(1)
    idle, total = (after - before for after, before in zip(cpu_times(), (idle, total)))
    return 1 - idle / max(1, total)


def header(bed):
    share = busy_share()
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}, {share:.0%} busy with other things")
    if share > BUSY:
        print("this machine is busy: what waits for others' time slices, the floor does, too, and the ratios flatter")
    if bed.is_root:
        print(f"clients: user nobody, admitted by group {GROUP} (by seat: that needs logind); handlers: root")
    else:
        print("clients and handlers: you. As root, the clients would be admitted by group, and pcscd be measured, too")
    if PCSCD not in bed.stacks:
        print("the distribution's pcscd: not here")


def measure(bed):
    header(bed)
    pinned, absolute = None, {}
    handlers = bed.start(bed.run, READERS)
    fresh = private_kib(handlers[-1])
    for section in bed.options.only:
        if section in ("pinned", "free"):
            results = measure_times(bed, handlers, section)
            pinned = results if section == "pinned" else pinned
        elif section == "clients":
            measure_clients(bed)
        elif section == "lists":
            measure_lists(bed, absolute)
        elif section == "memory":
            measure_memory(bed, fresh, handlers[0])
        elif section == "rest":
            measure_rest(bed, handlers[0])
        elif section == "many" and bed.options.many:
            measure_many(bed, absolute)
    verdict(pinned, absolute)
    bed.stop(set(handlers))


# ---- options ----

SECTIONS = ["pinned", "free", "clients", "lists", "memory", "rest", "many"]


def options_of(argv):
    p = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    p.add_argument("build", nargs="?", default="build")
    p.add_argument("--only", type=lambda text: text.split(","), default=SECTIONS, metavar="SECTION,...",
                   help=", ".join(SECTIONS))
    p.add_argument("--rounds", type=int, default=100, help="of each call (100)")
    p.add_argument("--batch", type=int, default=50, help="calls of a kind in a round (50)")
    p.add_argument("--seconds", type=float, default=1,
                   help="for each count of commands (1); ten times that at most for hand-overs")
    p.add_argument("--rest", type=float, default=20, help="seconds at rest (20)")
    p.add_argument("--lists", type=lambda text: [int(n) for n in text.split(",")], default=[1, 16, 256, 1000],
                   help="numbers of readers to list (1,16,256,1000)")
    p.add_argument("--many", type=int, default=1000, help="handlers to run at a time (1000)")
    p.add_argument("--no-pcscd", action="store_true", help="measure ours only")
    o = p.parse_args(argv)
    for file in ("libpcsclite.so.1", "tests/bench", "tests/ifdhandler-instant"):
        if not os.path.exists(os.path.join(o.build, file)):
            p.error(f"{o.build}/{file} is not built: make bench does that")
    if not set(o.only) <= set(SECTIONS):
        p.error("sections are " + ", ".join(SECTIONS))
    return o


def run_group(command, env):
    """Runs a command; whatever ends us ends it and all that it has started."""
    process = subprocess.Popen(command, env=env, preexec_fn=os.setpgrp)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: os.killpg(process.pid, signal.SIGTERM))
    return process.wait()


def enter(argv, o):
    """Runs us again in a mount namespace, beside a pcscd where there is one. Returns where that cannot be had."""
    if os.environ.get("BENCH_INSIDE") or os.geteuid() != 0:
        return None
    env = dict(os.environ, BENCH_INSIDE="1")
    peer = os.path.join(HERE, "../conformance/pcscd.sh")
    driver = os.path.join(o.build, "tests/ifd-instant.so")
    command = [sys.executable, os.path.realpath(__file__), *argv]
    if not o.no_pcscd:
        status = run_group([peer, "-n", str(READERS), "-d", "t1", driver, *command], env)
        if status != 77:
            return status
    return run_group(["unshare", "-m", *command], env)


def main(argv):
    o = options_of(argv)
    status = enter(argv, o)
    if status is not None:
        return status
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    bed = Bed(o.build, o)
    try:
        measure(bed)
    except RuntimeError as e:
        print(f"bench: {e}", file=sys.stderr)
        return 1
    finally:
        bed.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

# SPDX-License-Identifier: MIT
"""The part of library-calls.sh that counts."""
import re

from process import *

# Not of interest: memory, and what sanitizers do beside.
MEMORY = {"mmap", "munmap", "mremap", "mprotect", "madvise", "brk", "futex", "rt_sigprocmask", "sched_yield"}
SENDS = {"sendmsg", "sendto", "write", "writev", "connect", "socket"}
# What each call may ask for; a round trip is one of each.
ROUND_TRIP = ["sendmsg", "recvfrom"]
# The end of an open transaction: has anything happened meanwhile? If not it is sent; there is no answer.
AHEAD = ["recvfrom", "sendmsg"]
# Has the list of readers changed (inotify)? A number for the new handle. Is the descriptor still the library's?
ASIDE = {"read", "getrandom", "fcntl"}
# Calls that look at what has arrived: they may receive without waiting, and ask whether the list is still good.
SILENT = {"SCardStatus", "SCardListReaders", "SCardGetStatusChange"}


def trace(client):
    """[(call, [system calls])] of one run."""
    log = os.path.join(DIR, "strace")
    status, said = output("strace", "-o", log, client, "calls")
    if not ok(status == 0, "a program under strace works", said):
        finish()
    result = []
    with open(log, encoding="utf-8", errors="replace") as file:
        for line in file:
            at = re.match(r'write\(-1, "(\w+)"', line)
            if at:
                result.append((at.group(1), []))
            elif result and re.match(r"\w+\(", line):
                result[-1][1].append(line.rstrip("\n"))
    return result


handler = Handler("calls", "--driver", "virtual", "--card", "builtin")
client = build_client()
seen = {}
for name, lines in trace(client):
    if name == "end":
        continue
    lines = [line for line in lines if line.split("(")[0] not in MEMORY]
    seen.setdefault(name, []).append(lines)
for name, runs in seen.items():
    for i, lines in enumerate(runs):
        words = [line.split("(")[0] for line in lines]
        if name in SILENT:
            ok(not SENDS & set(words), f"{name} sends nothing (time {i + 1})", *lines)
            ok(all("MSG_DONTWAIT" in line for line in lines if line.startswith("recv")), f"{name} waits for nothing",
               *lines)
            ok(len(lines) <= 5, f"{name} asks the kernel for little", *lines)
        elif name == "SCardEndTransaction":
            words = [word for word in words if word not in ASIDE]
            same(words, AHEAD, f"{name} waits for nothing (time {i + 1})", *lines)
            ok(any("MSG_DONTWAIT" in line for line in lines), f"{name} looks at what has arrived (time {i + 1})", *lines)
        else:
            words = [word for word in words if word not in ASIDE]
            same(words, ROUND_TRIP, f"{name} is one send and one receive (time {i + 1})", *lines)
same(sorted(seen), sorted(["SCardTransmit", "SCardControl", "SCardStatus", "SCardListReaders", "SCardGetStatusChange",
                           "SCardBeginTransaction", "SCardEndTransaction", "SCardDisconnect", "SCardConnect"]),
     "all calls were seen")
finish()

# SPDX-License-Identifier: MIT
"""The part of library-abi.sh that builds and runs programs."""
import platform
import re
import shutil

from process import *

FUNCTIONS = """SCardBeginTransaction SCardCancel SCardConnect SCardControl SCardDisconnect SCardEndTransaction
SCardEstablishContext SCardFreeMemory SCardGetAttrib SCardGetStatusChange SCardIsValidContext SCardListReaderGroups
SCardListReaders SCardReconnect SCardReleaseContext SCardSetAttrib SCardStatus SCardTransmit pcsc_stringify_error""".split()
OBJECTS = ["g_rgSCardRawPci", "g_rgSCardT0Pci", "g_rgSCardT1Pci"]
UNUSED = {"LD_PRELOAD", "ASAN_OPTIONS"}  # a sanitizer's library that is preloaded has nothing to say here
PLAIN = {key: value for key, value in os.environ.items() if key not in UNUSED}


def exports():
    if not shutil.which("nm") or not shutil.which("objdump"):
        skip("what the library exports", "binutils are not installed")
        return
    _, said = output("nm", "-DS", "--defined-only", LIBRARY, env=PLAIN)
    symbols = {line.split()[-1]: line.split() for line in said.splitlines()}
    if not SANITIZED:
        same(sorted(symbols), sorted(FUNCTIONS + OBJECTS), "exactly the 22 symbols are exported, without versions")
    else:
        ok(set(FUNCTIONS + OBJECTS) <= set(symbols), "the 22 symbols are exported, without versions", said)
    sizes = {name: (int(symbols[name][1], 16), symbols[name][2]) for name in OBJECTS if name in symbols}
    if not SANITIZED:  # which puts a red zone behind them
        words = 16 if platform.architecture()[0] == "64bit" else 8
        ok(all(size == words and kind in "DR" for size, kind in sizes.values()) and len(sizes) == 3,
           f"the protocol objects have {words} bytes", sizes)
    _, said = output("objdump", "-p", LIBRARY, env=PLAIN)
    same(re.findall(r"SONAME\s+(\S+)", said), ["libpcsclite.so.1"], "its name is libpcsclite.so.1")
    needed = re.findall(r"NEEDED\s+(\S+)", said)
    if SANITIZED:
        skip("it needs libc only", "a sanitizer's libraries are needed, too")
    else:
        ok(needed and all(re.match(r"libc\.|ld-", name) for name in needed), "it needs libc only", needed)
        _, said = output("ldd", LIBRARY, env=PLAIN)
        extra = [line for line in said.splitlines() if not re.search(r"linux-vdso|linux-gate|libc\.so|/ld-linux|ld-musl", line)]
        same(extra, [], "and nothing comes with it")


def run_client(path, what, bits, environment):
    for n in (0, 200, 5000, 65526):
        status, said = output(path, "once", str(n), env=environment)
        if status != 0 or f"long has {bits} bits, protocol objects {bits // 4} bytes: 1 2 4" not in said:
            break
    ok(status == 0 and f"long has {bits} bits, protocol objects {bits // 4} bytes: 1 2 4" in said,
       f"{what} works", f"commands of up to {n} bytes: status {status}", said)


def linked():
    run_client(build_client("-fPIE", "-pie", to="pie"), "a position independent program", 64, os.environ)
    # with copies of the objects in the program itself (R_X86_64_COPY)
    path = build_client("-fno-pie", "-no-pie", to="nopie")
    run_client(path, "a program at a fixed address", 64, os.environ)


def linked_32():
    """A library and a program of 32 bits with the handler of 64 bits."""
    what = "a program of 32 bits with a handler of 64 bits"
    if platform.machine() != "x86_64":
        skip(what, f"this is {platform.machine()}")
        return
    probe = os.path.join(DIR, "probe.c")
    with open(probe, "w", encoding="ascii") as file:
        file.write("#include <stdio.h>\nint main(void) { return puts(\"32\") < 0; }\n")
    if output("gcc", "-m32", "-o", probe + ".out", probe, env=PLAIN)[0] != 0 or output(probe + ".out", env=PLAIN)[0] != 0:
        skip(what, "gcc -m32 does not work here (gcc-multilib)")
        return
    if not shutil.which("make"):
        skip(what, "make is not installed")
        return
    build = os.path.join(DIR, "m32")
    environment = {key: value for key, value in PLAIN.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "SANITIZE", "B")}
    status, said = output("make", "-C", TOP, "-o", "build/config.mk", f"B={build}", "SANITIZE=", "CC=gcc", "CFLAGS=-O2 -g -m32",
                          "LDFLAGS=-m32", f"{build}/libpcsclite.so.1", limit=100, env=environment)
    if not ok(status == 0, "the library is built for 32 bits, without a warning", said):
        return
    os.environ.pop("LD_PRELOAD", None)
    path = build_client("-m32", to="client32", directory=build)
    run_client(path, what, 32, PLAIN)


def unloaded():
    path, said = compile_c("library-dlopen", "-ldl")
    if not ok(path, "a program that loads the library is built", said):
        return
    status, said = output(path, LIBRARY, "100", limit=60)
    lines = said.splitlines()
    if not ok(status == 0 and len(lines) == 2, "the library is loaded, used and unloaded a hundred times", status, said):
        return
    same(lines[1].split(",")[0], lines[0].split(",")[0], "no descriptor is left")
    status, said_live = output(path, LIBRARY, "20", "live", limit=60)
    ok(status == 0, "unloaded with a context, a watch and a card that nobody has released: the program goes on", status, said_live)
    ok(said_live.rstrip().endswith(" 0 of the library"), "and the library is gone", said_live)
    if SANITIZED:
        skip("no mapping is left", "a sanitizer keeps memory of its own")
        return
    same(lines[1], lines[0], "no mapping is left")
    ok(lines[1].endswith(" 0 of the library"), "it is really gone", said)


def memory():
    what = "a thousand connects leak nothing"
    if SANITIZED or not shutil.which("valgrind"):
        skip(what, "valgrind and sanitizers exclude each other" if SANITIZED else "valgrind is not installed")
        return
    client = build_client("-g", to="valgrind")
    status, said = output("valgrind", "--leak-check=full", "--show-leak-kinds=definite,indirect", "--error-exitcode=9",
                          "--errors-for-leak-kinds=definite,indirect", "--track-fds=yes", client, "loop", "1000", limit=100)
    ok(status == 0, what, said)
    lost = dict(re.findall(r"(definitely|indirectly) lost: ([\d,]+) bytes", said))
    ok(lost in ({"definitely": "0", "indirectly": "0"}, {}) and "ERROR SUMMARY: 0 errors" in said,
       "and use no memory that is not theirs", said)
    ok(re.search(r"FILE DESCRIPTORS: (\d+) open \(\1 std\)", said) or re.search(r"FILE DESCRIPTORS: 3 open", said),
       "no descriptor is left open", said)


handler = Handler("abi", "--driver", "virtual", "--card", "builtin")
exports()
linked()
unloaded()
memory()
linked_32()
finish()

# SPDX-License-Identifier: MIT
"""The part of names-register.sh that registers."""
import concurrent.futures
import json
import re

from process import *

N_EQUAL = 260
N_AT_ONCE = 60
IGNORE = "PCSCLITE_FILTER_IGNORE_READER_NAMES"
EXTEND = "PCSCLITE_FILTER_EXTEND_READER_NAMES"
FORM = re.compile(r"[ -~]+ [0-9A-F]{2,4} [0-9A-F]{2}$")


def register(instance, name=None, **environment):
    options = ["--name", name] if name is not None else []
    status, said = output(os.path.join(B, "ifdhandler"), "--driver", "virtual", *options, "--register", instance,
                          env=dict(os.environ, **environment))
    if status != 0:
        ok(False, f"--register {instance}", f"status {status}", said)
    return said


def unregister(instance):
    status, said = output(os.path.join(B, "ifdhandler"), "--unregister", instance)
    if status != 0:
        ok(False, f"--unregister {instance}", f"status {status}", said)


def lines(instance, key):
    with open(os.path.join(RUN, instance + ".reader"), encoding="utf-8") as file:
        return [line[len(key) + 1:].rstrip("\n") for line in file if line.startswith(key + "=")]


def name_of(instance):
    names = [value.split(" ", 1)[1] for value in lines(instance, "reader")]
    return names[0] if len(names) == 1 else names


def ctl(*words):
    status, said = output(os.path.join(B, "reader-ctl"), *words)
    return f"{status} {said}"


def many_of_one_name():
    for i in range(N_EQUAL):
        register(f"r{i:03}", "Same")
    want = [f"Same {i:02X} 00" for i in range(N_EQUAL)]
    same(call(Context().list).value, want, f"PCSC-215 {N_EQUAL} readers of one name have numbers of their own, in order")
    same(want[-1], "Same 103 00", "more than 256 need a third digit")
    for i in (7, 3, 258):
        unregister(f"r{i:03}")
    register("x", "Same")
    same(name_of("x"), "Same 03 00", "the next takes the smallest number that is free")
    register("r007", "Same")
    same(name_of("r007"), "Same 07 00", "one that comes back has its number again")
    register("r003", "Same")
    same(name_of("r003"), "Same 102 00", "or, where that is taken, the smallest free one")
    register("r100", "Same")
    same(name_of("r100"), "Same 64 00", "PCSC-219 registering again changes nothing")
    for instance in [f"r{i:03}" for i in range(N_EQUAL) if i != 258] + ["x"]:
        unregister(instance)
    same(call(Context().list).value, [], "and all are gone again")


def at_once():
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: register(f"p{i}", "Parallel"), range(N_AT_ONCE)))
    names = call(Context().list).value
    same(sorted(names), [f"Parallel {i:02X} 00" for i in range(N_AT_ONCE)],
         f"{N_AT_ONCE} registrations at the same time: no number is given twice, none is left out")
    seqs = [int(lines(f"p{i}", "seq")[0]) for i in range(N_AT_ONCE)]
    same(len(set(seqs)), N_AT_ONCE, "each has its place in the list")
    by_seq = sorted(range(N_AT_ONCE), key=lambda i: seqs[i])
    same(names, [name_of(f"p{i}") for i in by_seq], "and the list keeps to it")
    for i in range(N_AT_ONCE):
        unregister(f"p{i}")


def odd_names():
    register("long", "x" * 140)
    same(name_of("long"), "x" * 117 + " 00 00", "PCSC-214 a long name is cut, the ending kept")
    register("long2", "x" * 150)
    same(name_of("long2"), "x" * 117 + " 01 00", "PCSC-215 two that are cut alike are told apart")
    register("lines", "a\nreader=9 Evil 00 00\nerror=b")
    same(name_of("lines"), "a.reader=9 Evil 00 00.error=b 00 00", "a name makes no lines")
    same(lines("lines", "error"), [], "and no keys")
    register("bytes", "M\u00fcller \x1b[2J")
    same(name_of("bytes"), "M..ller .[2J 00 00", "PCSC-217 bytes that are not printable ASCII are dots")
    register("quotes", "\"it's\" = [a] (b)")
    same(name_of("quotes"), "\"it's\" = [a] (b) 00 00", "quotes, brackets and equals signs stay")
    register("blank", "   ")
    same(name_of("blank"), "Virtual PCD (blank) 00 00", "a name of blanks is none")
    register("ending", "A 00 00")
    same(name_of("ending"), "A 00 00 00 00", "what looks like an ending is a name")
    names = call(Context().list).value
    ok(all(FORM.match(name) and len(name) <= 127 for name in names), "PCSC-213 every name has the form", names)
    for instance in ("long", "long2", "lines", "bytes", "quotes", "blank", "ending"):
        unregister(instance)


def ignored():
    register("one", "Maker Reader")
    said = register("two", "Maker Token", **{IGNORE: "::Foo:Token:"})
    same(call(Context().list).value, ["Maker Reader 00 00"], "a reader whose name is left out is not listed")
    reason = f'Maker Token ("Token" in {IGNORE})'
    same(lines("two", "ignored"), [reason], "its description says why")
    ok(reason in said, "and so does the journal", said)
    out = ctl("list")
    same(out, "0 Maker Reader 00 00\n", "reader-ctl list is what programs see", out)
    out = ctl("status", "two")
    ok(out.startswith("0 two\n") and f"not listed      {reason}" in out, "reader-ctl status says why", out)
    out = ctl("status", "--json", "two")
    same(json.loads(out[2:])[0].get("ignored"), reason, "also in JSON", out)
    out = ctl("apdu", "two", "00A40000")
    ok(out.startswith("3 ") and reason in out, "reader-ctl apdu says why", out)
    out = ctl("list", "-v")
    ok("Token" not in out, "reader-ctl list -v does not ask it", out)
    out = ctl("monitor", "--initial", "--timeout", "1")
    ok("Maker Reader" in out and "Token" not in out, "reader-ctl monitor does not tell of it", out)
    unregister("one")
    out = ctl("list")
    ok(out.startswith("0 ") and reason in out, "where nothing else is there reader-ctl list says why", out)
    register("two", "Maker Token", **{IGNORE: "token"})
    same(call(Context().list).value, ["Maker Token 00 00"], "by case; and registered again it is back, under its number")
    unregister("two")


def extended():
    register("one", "Reader", **{EXTEND: " at desk"})
    register("two", "Reader", **{EXTEND: " at desk"})
    register("three", "Reader")
    same(call(Context().list).value, ["Reader at desk 00 00", "Reader at desk 01 00", "Reader 00 00"],
         "an extension stands before the number, and is part of what is told apart")
    register("four", "x" * 140, **{EXTEND: " at desk"})
    same(name_of("four"), "x" * 109 + " at desk 00 00", "C18 a long name is cut for it: the ending is kept")
    register("five", "x" * 141, **{EXTEND: " at desk"})
    same(name_of("five"), "x" * 109 + " at desk 01 00", "C18 and names stay different")
    register("six", "Reader", **{EXTEND: "e" * 300})
    same(name_of("six"), "Reader" + "e" * 64 + " 00 00", "C18 an extension has an end")
    register("seven", "Reader", **{EXTEND: "\n\u00fcreader=8 Evil"})
    same(name_of("seven"), "Reader...reader=8 Evil 00 00", "and makes no lines")
    register("eight", "Reader at desk", **{IGNORE: "desk", EXTEND: " here"})
    register("nine", "Reader", **{IGNORE: "desk", EXTEND: " at desk"})
    same(lines("eight", "reader"), [], "the filter looks at the name")
    same(name_of("nine"), "Reader at desk 02 00", "and not at the extension")


many_of_one_name()
at_once()
odd_names()
ignored()
extended()
finish()

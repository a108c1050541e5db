# SPDX-License-Identifier: MIT
"""Runs the conformance tests against pcscd and compares what does not hold with DIFFERENCES.md.

The rows of its tables begin with the number of a line of the checklist: "71" or "C15"; "71 (may)" where
it holds in one run and not in another. The tables are of lines that do not hold, but for that below the heading
"Lines that are not run". A row too many fails as a row too few does.

peer.py --rows: prints rows for what is not in the document yet, as a start.
"""
import os
import re
import subprocess
import sys
import tempfile

HERE = os.environ["HERE"]
B = os.environ["B"]
DOCUMENT = os.path.join(HERE, "DIFFERENCES.md")
JOBS = 8  # pcscd waits far more than it works
ROW = re.compile(r"\|\s*(C?\d+)( \(may\))?\s*\|")
LINE = re.compile(r"(not )?ok \d+ - PCSC-(C?\d+) \[(.)\] (.*)")


def documented():
    """{line: may it hold?} of those that do not hold, and of those that are not run."""
    differs, skipped = {}, {}
    table = differs
    with open(DOCUMENT, encoding="utf-8") as file:
        for text in file:
            if text.startswith("## "):
                table = skipped if "not run" in text else differs
            row = ROW.match(text)
            if row:
                table[row[1]] = bool(row[2])
    return differs, skipped


def run():
    """{line: (class, verdict)}, {line: what was said}, what was said without a number, and all of it."""
    with tempfile.NamedTemporaryFile("r") as results:
        command = [f"{B}/tests/conformance", "--stack", "pcscd", "--library", os.environ["PCSCD_LIBRARY"],
                   "--jobs", str(JOBS), "--results", results.name]
        out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             errors="replace", check=False).stdout
        verdicts = {number: (kind, verdict) for number, kind, verdict in map(str.split, results)}
    said, loose = {}, []
    for text in out.splitlines():
        line = LINE.match(text)
        if line and (line[1] or "# SKIP" in text):
            said.setdefault(line[2], []).append(line[4])
        elif text.startswith("not ok") and not line:
            loose.append(text)
    return verdicts, said, loose, out


def compare(number, verdict, differs, skipped):
    """None, or what the document has wrong about it."""
    if verdict in ("fail", "none"):
        return None if number in differs else "does not hold, and the document does not say so"
    if number in differs and not differs[number]:
        return "is in the document and holds"
    if verdict == "skip" and number not in skipped:
        return "is not run, and the document does not say so"
    if verdict != "skip" and number in skipped and not skipped[number]:
        return "is in the document as not run and is run"
    return None


def judge(verdicts, differs, skipped):
    """{line: what the document has wrong about it}"""
    wrong = {number: compare(number, verdict, differs, skipped) for number, (_, verdict) in verdicts.items()
             if verdict not in ("later", "elsewhere")}
    return {number: text for number, text in wrong.items() if text}


def rows(verdicts, said, differs, skipped):
    for number, (kind, verdict) in verdicts.items():
        if verdict in ("fail", "none", "skip") and number not in differs and number not in skipped:
            print(f"| {number} | {kind} | {verdict}: {' / '.join(said.get(number, []))} |")


def main():
    differs, skipped = documented()
    verdicts, said, loose, out = run()
    if sys.argv[1:] == ["--rows"]:
        print(out)
        rows(verdicts, said, differs, skipped)
        return 0
    wrong = judge(verdicts, differs, skipped)
    if wrong:
        # pcscd looks at its readers by the clock, and a busy machine makes it late: a second run decides.
        print(f"# again for {', '.join(wrong)}:", *[text for text in out.splitlines() if text.startswith("not ok")], sep="\n# ")
        again, said, loose, out = run()
        verdicts = {number: again[number] if number in wrong else verdict for number, verdict in verdicts.items()}
        wrong = judge(verdicts, differs, skipped)
    bad = bool(wrong)
    for number, (kind, verdict) in verdicts.items():
        if verdict in ("later", "elsewhere"):
            continue
        if number not in wrong:
            print(f"ok - peer: PCSC-{number} [{kind}] {verdict}, as the document has it")
            continue
        print(f"not ok - peer: PCSC-{number} [{kind}] {wrong[number]}")
        for detail in said.get(number, []):
            print(f"# {detail}")
    for number in (differs | skipped).keys() - verdicts.keys():
        bad = True
        print(f"not ok - peer: the document names {number}, which is not in the checklist")
    for text in loose + re.findall(r"^# class .*", out, re.M):
        print(text if text.startswith("#") else f"# {text}")
    return 1 if bad or not verdicts else 0


if __name__ == "__main__":
    sys.exit(main())

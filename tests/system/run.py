#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""run.py [--build DIR] [--payload TREE] [--helper FILE]... [--container] [--list] [NAME...]: the system tests.

Runs every function test_* of tests/system/test_*.py in a VM, or with --container those of ctest_*.py in a container,
each in a machine of its own. TREE is what `make install DESTDIR=TREE` made; without it only the modules run that say
INSTALLED = False. NAMEs choose the tests whose name contains one of them. A function may have an attribute
timeout (seconds, 120 else). Exit status: 0 when all have passed. Needs root.
"""
import argparse
import contextlib
import fcntl
import glob
import importlib
import os
import re
import signal
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

import container  # noqa: E402
import vm  # noqa: E402
from machine import CommandError, MachineError  # noqa: E402

DEFAULT_TIMEOUT = 120


class TestTimeout(Exception):
    pass


def find_tests(prefix, chosen):
    """[(name, function, module)] in the order of the files."""
    tests = []
    for path in sorted(glob.glob(f'{HERE}/{prefix}_*.py')):
        module = importlib.import_module(os.path.basename(path)[:-3])
        for name, function in vars(module).items():
            full = f'{module.__name__}.{name}'
            if name.startswith('test_') and (not chosen or any(word in full for word in chosen)):
                tests.append((full, function, module))
    return tests


def alarm(_signal, _frame):
    raise TestTimeout()


def explain(error):
    """The failure as a person wants to read it: where in the test, and what."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if os.path.basename(frame.filename).startswith(('test_', 'ctest_', 'steps'))]
    where = ''.join(f'  {os.path.basename(frame.filename)}:{frame.lineno}: {frame.line}\n' for frame in frames)
    if not frames or not isinstance(error, (AssertionError, CommandError, MachineError, TestTimeout)):
        where = ''.join(traceback.format_exception(error))
    return where + (f'{type(error).__name__}: {error}' if frames else '')


def evidence(machine, begin):
    """The last of the machine's journal since the test began."""
    with contextlib.suppress(Exception):
        lines = machine.run('journalctl -q --no-pager -b -o short-monotonic -n 200', 20).splitlines()
        times = [re.match(r'\[ *([0-9.]+)\]', line) for line in lines]
        new = [line for line, time in zip(lines, times) if not time or float(time[1]) >= begin]
        return '\n-- journal --\n' + '\n'.join(new[-60:])
    return ''


def run_test(function, timeout, open_machine):
    """Returns None or the text of the failure."""
    machine, begin = None, 0.0
    signal.signal(signal.SIGALRM, alarm)
    signal.alarm(timeout)
    try:
        machine = open_machine()
        begin = float(machine.run('cut -d" " -f1 /proc/uptime'))
        function(machine)
        return None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a test raises is its failure
        signal.alarm(30)
        text = explain(error)
        if machine and not isinstance(error, MachineError):
            text += evidence(machine, begin)
        return text
    finally:
        signal.alarm(0)
        if machine:
            machine.close()


def run_tests(tests, open_machine):
    passed = failed = 0
    begin = time.monotonic()
    for name, function, module in tests:
        start = time.monotonic()
        timeout = getattr(function, 'timeout', DEFAULT_TIMEOUT)
        failure = run_test(function, timeout, lambda: open_machine(module))
        if failure is not None:
            # Emulation on a busy machine can be too slow for a deadline, and the emulated reader's card thread loses
            # a wake-up at times (see vm.py). A second machine decides; what the first one said is shown.
            print(f'again {name}\n    ' + failure.replace('\n', '\n    '), flush=True)
            failure = run_test(function, timeout, lambda: open_machine(module))
        seconds = time.monotonic() - start
        if failure is None:
            passed += 1
            print(f'ok {name} {seconds:.1f}s', flush=True)
        else:
            failed += 1
            print(f'FAIL {name} {seconds:.1f}s\n    ' + failure.replace('\n', '\n    '), flush=True)
    print(f'system: {passed} passed, {failed} failed, {time.monotonic() - begin:.0f} s', flush=True)
    return failed == 0 and passed > 0


def installed(module):
    return getattr(module, 'INSTALLED', True)


def vm_opener(store, payload, helpers):
    tar = store.make_payload(payload, helpers)

    def open_machine(module):
        frozen = store.golden(tar) if installed(module) else store.cold()
        return vm.VM(store, frozen=frozen, payload=tar)
    return open_machine


def main():
    parser = argparse.ArgumentParser(description='system tests in a VM or a container')
    parser.add_argument('--build', default=os.environ.get('BUILD', 'build'))
    parser.add_argument('--payload', help='tree made by make install DESTDIR=')
    parser.add_argument('--helper', action='append', default=[], help='a program for the tests, into the machine')
    parser.add_argument('--container', action='store_true', help='the tests for the container')
    parser.add_argument('--list', action='store_true', help='print the names and do nothing')
    parser.add_argument('--prepare', action='store_true', help='only make image, card and frozen VM')
    parser.add_argument('names', nargs='*')
    options = parser.parse_args()

    tests = find_tests('ctest' if options.container else 'test', options.names)
    if not options.payload:
        tests = [test for test in tests if not installed(test[2])]
    if options.list:
        print('\n'.join(name for name, _, _ in tests))
        return 0
    if not tests and not options.prepare:
        print('run.py: no such test', file=sys.stderr)
        return 2
    if os.geteuid() != 0:
        print('run.py: the system tests need root (mounts, a Debian tree)', file=sys.stderr)
        return 2

    store = vm.Store(options.build)
    os.makedirs(store.directory, exist_ok=True)
    with open(f'{store.directory}/lock', 'w', encoding='ascii') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f'waiting for another run in {store.directory}', flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        store.prepare()
        if options.prepare:
            store.cold()
            return 0
        if options.container:
            opener = container.opener(store, options.payload, options.helper)
        else:
            opener = vm_opener(store, options.payload, options.helper)
        return 0 if run_tests(tests, opener) else 1


if __name__ == '__main__':
    sys.exit(main())

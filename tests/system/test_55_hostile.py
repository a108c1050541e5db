# SPDX-License-Identifier: MIT
"""One reader that means harm among nineteen that work: it costs the others nothing."""
import statistics

from machine import quote
from steps import RUN, TOOLS, Emulated, await_readers, figure, lines, tool

GOOD = 19
AT_ONCE = 4
SECONDS = 7
PAUSE = 0.35  # between two commands of one program: chosen, so that the machine has time to spare
# Everything that a device can do to a host, each for a moment; then it is pulled out and put in again.
FAULTS = '''extend=0 on=6f|garbage=600 times=0|overflow times=0|stall-in times=0|seq times=0|length times=0|stale=40 times=0|
zlp=60 times=0|twin times=0|interrupt-error=12|drop times=0|split=1:5 times=0|surplus=600 times=0|error-in times=0|
slot times=0|cut=9 times=0'''.replace('\n', '').split('|')


def hostile_loop():
    """A script that goes on and on, commands by socket."""
    control = tool('model-ctl', '-s', '/run/hostile.sock')
    fault = '; '.join(f'{control} fault 0 {words}; for i in 1 2 3 4 5 6 7 8; do {control} interrupt 0 0 50 03; done; '
                      f'sleep 0.15; {control} faults 0 clear' for words in FAULTS)
    return f'while :; do {fault}; {control} unplug 0; sleep 0.2; {control} plug 0; sleep 0.4; done >/dev/null 2>&1'


def measure(vm):
    """(times of all commands, errors) of the good readers."""
    said = lines(vm.run(tool('steady.py', SECONDS, PAUSE, '!Extended'), SECONDS + 100))
    found = [line for line in said if 'times' in line]
    assert len(found) == GOOD, said[:1]
    return [t for line in found for t in line['times']], [(line['reader'], line['errors']) for line in found
                                                          if line['errors']]


def summary(times):
    return statistics.median(times), statistics.quantiles(times, n=20)[18]


def test_one_hostile_reader(vm):
    """The others have no failed call, and no command of theirs takes longer than before."""
    good = Emulated(vm, *['-m', 'generic-short-apdu', '-c', 'C', '-u'] * GOOD)
    vm.start(tool('usbip-reader', '-s', '/run/hostile.sock', '-b', GOOD, '-m', f'{TOOLS}/models/generic-ext-apdu.model', '-u'))
    # a few at a time, as people plug: nineteen starts at once take a slow machine longer than units may
    for first in range(0, GOOD, AT_ONCE):
        some = range(first, min(first + AT_ONCE, GOOD))
        for reader in some:
            good.command('plug', reader)
        await_readers(vm, some[-1] + 1, 60)
    measure(vm)  # starts the handlers
    before, errors = measure(vm)
    assert not errors, errors
    vm.run(tool('model-ctl', '-s', '/run/hostile.sock', 'plug', 0))
    await_readers(vm, GOOD + 1, 60)
    loop = vm.start(f'bash -c {quote(hostile_loop())}', 1000)
    victim = vm.start(f'while :; do {tool("steady.py", 2, 0.02, "Extended")}; done', 1000)
    after, errors = measure(vm)
    assert not errors, errors
    tried = sum(line['commands'] for line in lines(victim.kill()) if 'times' in line)
    loop.kill()
    (median, slow), (median_after, slow_after) = summary(before), summary(after)
    figure(f'{len(before)} and {len(after)} commands on {GOOD} readers, {tried} on the hostile one; median '
           f'{median * 1000:.1f} and {median_after * 1000:.1f} ms, 95 of 100 within {slow * 1000:.1f} and '
           f'{slow_after * 1000:.1f} ms')
    assert tried, 'the hostile reader was used'
    # one that waited for the other would wait for its faults: hundreds of times a median
    assert median_after < 4 * median and slow_after < 4 * slow + 5 * median
    failed = vm.run(f'systemctl --failed --no-legend --plain; ls {RUN}/*.reader | wc -l').split()
    assert failed in ([str(GOOD)], [str(GOOD + 1)]), failed


test_one_hostile_reader.timeout = 400

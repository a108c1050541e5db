# SPDX-License-Identifier: MIT
"""One reader that means harm among nineteen that work: it costs the others nothing."""
import statistics

from steps import RUN, TOOLS, Emulated, await_readers, figure, lines, plain_units, tool

GOOD = 19
AT_ONCE = 5
SECONDS = 8
PAUSE = 0.35  # between two commands of one program: chosen, so that the machine has time to spare
HOSTILE = '/run/hostile.sock'
# Chosen. Who waited for the hostile reader would wait for its deadlines, which are seconds.
NOISE = 0.1


def measure(vm, seconds=SECONDS):
    """(times of all commands, errors) of the good readers."""
    said = lines(vm.run(tool('steady.py', seconds, PAUSE, '!Extended'), seconds + 100))
    found = [line for line in said if 'times' in line]
    assert len(found) == GOOD, said[:1]
    return [t for line in found for t in line['times']], [(line['reader'], line['errors']) for line in found
                                                          if line['errors']]


def measure_beside(vm, how):
    """The same, while the twentieth is used and does what hostile.py says; and what its user had of it."""
    await_readers(vm, GOOD + 1, 60)
    user = vm.start(tool('steady.py', SECONDS + 2, 0.05, 'Extended'))
    vm.wait_for('pgrep -f "[s]teady.py.*Extended"')
    loop = vm.start(tool('hostile.py', HOSTILE, how))
    times, errors = measure(vm)
    assert not errors, errors
    loop.kill()
    # What it left behind would hold its user up for minutes; pulled out, the reader holds nobody up.
    for words in (('faults', 0, 'clear'), ('unplug', 0), ('plug', 0)):
        vm.try_run(tool('model-ctl', '-s', HOSTILE, *words))
    _, said = user.wait()
    line, = [line for line in lines(said) if 'times' in line]
    return times, line


def summary(times):
    return statistics.median(times), statistics.quantiles(times, n=20)[18]


def test_one_hostile_reader(vm):
    """The others have no failed call, and no command of theirs takes longer than while that reader behaves."""
    plain_units(vm)
    good = Emulated(vm, *['-m', 'generic-short-apdu', '-c', 'C', '-u'] * GOOD)
    vm.start(tool('usbip-reader', '-s', HOSTILE, '-b', GOOD, '-m', f'{TOOLS}/models/generic-ext-apdu.model', '-u'))
    for first in range(0, GOOD, AT_ONCE):
        some = range(first, min(first + AT_ONCE, GOOD))
        for reader in some:
            good.command('plug', reader)
        await_readers(vm, some[-1] + 1, 60)
    vm.run(tool('model-ctl', '-s', HOSTILE, 'plug', 0))
    measure(vm, 2)  # the cards are powered from here on
    before, behaving = measure_beside(vm, 'behaving')
    after, hostile = measure_beside(vm, 'hostile')
    (median, slow), (median_after, slow_after) = summary(before), summary(after)
    figure(f'{len(before)} and {len(after)} commands on {GOOD} readers; median {median * 1000:.1f} and '
           f'{median_after * 1000:.1f} ms, 95 of 100 within {slow * 1000:.1f} and {slow_after * 1000:.1f} ms; on the other reader '
           f'{behaving["commands"]} and {hostile["commands"]}, errors {behaving["failed"]} and {hostile["failed"]}')
    assert hostile['failed'] and hostile['commands'] < behaving['commands'], 'the reader was used, and did harm to its own user'
    assert median_after < 2 * median + NOISE and slow_after < 2 * slow + NOISE
    failed = vm.run(f'systemctl --failed --no-legend --plain; ls {RUN}/*.reader | wc -l').split()
    assert failed in ([str(GOOD)], [str(GOOD + 1)]), failed


test_one_hostile_reader.timeout = 400

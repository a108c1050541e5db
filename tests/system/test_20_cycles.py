# SPDX-License-Identifier: MIT
"""Readers come and go, and programs with one context live through it."""
import random
import time

from steps import (OK, ONE_SECOND, await_gone, await_line, await_nothing_left, await_readers, lines, lines_of_ours,
                   list_readers, opensc_atr, tool)

CYCLES = 30
NEVER = ('SCARD_E_NO_SERVICE', 'SCARD_E_SERVICE_STOPPED', 'SCARD_F_COMM_ERROR')


def calls(log, call):
    return [line for line in log if line.get('call') == call]


def test_cycles(vm):
    """30 times: plug, use, unplug."""
    cursor = vm.cursor()
    for program in ('list', 'pnp', 'use'):
        vm.start(f'{tool("watch.py", program)} > /tmp/{program}.log 2>&1', 1000)
    await_line(vm, '/tmp/use.log', 'list')
    await_line(vm, '/tmp/pnp.log', 'begin')
    for cycle in range(CYCLES):
        vm.plug()
        await_line(vm, '/tmp/use.log', '"disconnect"', cycle + 1)
        if cycle % 10 == 0:
            opensc_atr(vm)
        vm.unplug()
        await_gone(vm)
        await_line(vm, '/tmp/use.log', 'NO_READERS_AVAILABLE', cycle + 2)
    await_nothing_left(vm)
    time.sleep(1.5)  # the program that lists once a second sees the end

    listed, pnp, used = (lines(vm.run(f'cat /tmp/{name}.log')) for name in ('list', 'pnp', 'use'))
    codes = {line['code'] for line in listed + pnp + used if 'code' in line}
    assert not codes & set(NEVER), codes
    assert {line['code'] for line in listed} == {OK, 'SCARD_E_NO_READERS_AVAILABLE'}
    assert all((line['code'] == OK) == bool(line['readers']) for line in listed)
    assert listed[-1]['code'] == 'SCARD_E_NO_READERS_AVAILABLE'
    assert {line['code'] for line in calls(pnp, 'wait')} == {OK}
    assert len(calls(pnp, 'wait')) >= 2 * CYCLES, f'{len(calls(pnp, "wait"))} PnP events for {CYCLES} cycles'
    for call in ('connect', 'transmit', 'disconnect'):
        assert [line['code'] for line in calls(used, call)] == [OK] * CYCLES, calls(used, call)
    assert all(line['answer'].startswith(('61', '6f', '9000')) for line in calls(used, 'transmit'))
    assert len({line['reader'] for line in calls(used, 'connect')}) == 1, 'one name for all lives'

    ours = lines_of_ours(vm, cursor)
    assert len(ours) == 2 * CYCLES, f'{len(ours)} lines for {CYCLES} arrivals and departures:\n' + '\n'.join(
        map(str, ours[:12]))


test_cycles.timeout = 600


def test_fast_replugs(vm):
    """Plugs and unplugs at any moment of a life leave nothing behind, and the next reader works."""
    generator = random.Random(1)
    vm.start(f'{tool("watch.py", "use")} > /tmp/use.log 2>&1', 1000)
    for _ in range(25):
        vm.plug(card=False)
        time.sleep(generator.uniform(0, 1.2))
        vm.unplug()
        time.sleep(generator.uniform(0, 0.4))
    await_nothing_left(vm)
    assert list_readers(vm) == []
    vm.plug()
    await_readers(vm, 1)
    opensc_atr(vm)
    await_line(vm, '/tmp/use.log', '"disconnect"')
    vm.unplug()
    await_nothing_left(vm)
    codes = {line['code'] for line in lines(vm.run('cat /tmp/use.log')) if 'code' in line}
    assert not codes & set(NEVER), codes


test_fast_replugs.timeout = 300


def test_unplugged_in_use(vm):
    """Pulled out while programs sign, wait and list; ten times."""
    vm.start(f'{tool("watch.py", "pnp")} > /tmp/pnp.log 2>&1', 1000)
    for _ in range(10):
        vm.plug()
        await_readers(vm, 1)
        work = vm.start(tool('watch.py', 'work', '', '00a4040007a0000000790100', 0))
        vm.wait_for('pgrep -x ifdhandler')
        time.sleep(0.7)
        vm.unplug()
        await_nothing_left(vm)
        seen = lines(work.wait()[1])
        assert seen[0]['code'] == OK and seen[-1]['done'] > 0, seen[:3]
        errors = {line['code'] for line in seen[1:-1]}
        assert errors and not errors & set(NEVER), errors
        assert seen[-1]['longest'] < ONE_SECOND, seen[-1]


test_unplugged_in_use.timeout = 300

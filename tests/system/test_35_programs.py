# SPDX-License-Identifier: MIT
"""Programs that run for days: one lists once a second, one waits for readers, one for cards. Nothing that happens to readers and
handlers gives them an error to handle."""
import time

from steps import (OK, await_gone, await_line, await_readers, figure, instances, lines, list_readers, main_pid, opensc_atr,
                   service, tool)

NO_READERS = 'SCARD_E_NO_READERS_AVAILABLE'
PROGRAMS = ('list', 'pnp', 'use')


def codes(log):
    return {line['code'] for line in log if 'code' in line}


def changes(log):
    """The lists that followed each other, each once."""
    seen = []
    for line in log:
        if line.get('call') == 'list' and (not seen or seen[-1] != line['readers']):
            seen.append(line['readers'])
    return seen


def test_programs_of_days(vm):
    """Last reader unplugged, nothing for 10 s, replugged, handler killed, handler upgraded."""
    vm.plug()
    await_readers(vm, 1)
    opensc_atr(vm)
    name, = list_readers(vm)
    for program in PROGRAMS:
        vm.start(f'{tool("watch.py", program)} > /tmp/{program}.log 2>&1', 1000)
    await_line(vm, '/tmp/pnp.log', 'begin')
    await_line(vm, '/tmp/use.log', '"disconnect"')
    await_line(vm, '/tmp/list.log', 'SUCCESS')

    vm.unplug()
    await_gone(vm)
    await_line(vm, '/tmp/list.log', NO_READERS)
    time.sleep(10)
    vm.plug()
    instance, = await_readers(vm, 1)
    await_line(vm, '/tmp/use.log', '"disconnect"', 2)

    pid = main_pid(vm, instance)
    assert pid, 'a program watches the card'
    vm.run(f'kill -9 {pid}')
    vm.wait_for(f'test $(systemctl show --value -p MainPID {service(instance)}) -gt 0 && '
                f'test $(systemctl show --value -p MainPID {service(instance)}) != {pid}')
    opensc_atr(vm)

    pid = main_pid(vm, instance)
    vm.run('cp /usr/sbin/ifdhandler /usr/sbin/ifdhandler.new && mv /usr/sbin/ifdhandler.new /usr/sbin/ifdhandler')
    vm.run(f'systemctl restart {service(instance)}')
    assert main_pid(vm, instance) not in (0, pid)
    opensc_atr(vm)
    assert instances(vm) == [instance] and list_readers(vm) == [name]

    seen = int(vm.run(f'grep -c {NO_READERS} /tmp/list.log'))
    vm.unplug()
    await_gone(vm)
    await_line(vm, '/tmp/list.log', NO_READERS, seen + 1)
    await_line(vm, '/tmp/use.log', NO_READERS, 2)
    time.sleep(1.5)  # the program that lists once a second sees the end

    listed, pnp, used = (lines(vm.run(f'cat /tmp/{program}.log')) for program in PROGRAMS)
    assert codes(listed) == {OK, NO_READERS}, codes(listed)
    assert changes(listed) == [[name], [], [name], []], changes(listed)
    assert codes(pnp) == {OK}, codes(pnp)
    waits = [line for line in pnp if line['call'] == 'wait']
    assert len(waits) >= 3, f'out, in and out again: {waits}'
    states = [line['state'] for line in waits]
    assert len(set(states)) == len(states), f'each with a number of its own: {states}'
    # A reader that was named and left meanwhile is an ordinary answer of that call.
    assert codes(used) <= {OK, NO_READERS, 'SCARD_E_UNKNOWN_READER'}, codes(used)
    assert changes(used)[:4] == [[name], [], [name], []], changes(used)
    slowest = max(line['seconds'] for line in listed)
    figure(f'slowest SCardListReaders of {len(listed)}: {slowest * 1000:.1f} ms')


test_programs_of_days.timeout = 300

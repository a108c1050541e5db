# SPDX-License-Identifier: MIT
"""Debian 12's pcscd runs as root and takes every reader it can get: whoever comes second hears who was first."""
from steps import (OK, ONE_SECOND, await_line, await_readers, figure, is_active, lines_of_ours, list_readers,
                   opensc_atr, pcsc, service, tool)

THEIR_LIBRARY = 'LIBRARY=$(ls /usr/lib/*/libpcsclite.so.1)'


def pcscd_takes_it(vm, instance):
    """Our handler has ended for idleness; pcscd starts and claims the interface."""
    vm.run(f'systemctl stop {service(instance)}')
    vm.run('systemctl start pcscd.service')
    their = vm.wait_for(f'{THEIR_LIBRARY} {tool("winscard.py", "connect")} | grep "{OK}"')
    assert 'Gemalto' in their, f'this is not pcscd: {their}'


def test_taken_while_we_are_idle(vm):
    vm.plug()
    instance, = await_readers(vm, 1)
    opensc_atr(vm)
    names = list_readers(vm)
    pcscd_takes_it(vm, instance)
    cursor = vm.cursor()

    answer = pcsc(vm, 'connect')[0]
    assert answer['code'] == 'SCARD_E_READER_UNAVAILABLE' and answer['seconds'] < ONE_SECOND, answer
    figure(f'error about the claimed interface after {answer["seconds"]} s')
    assert list_readers(vm) == names, 'the reader stays listed'
    for _ in range(3):
        assert pcsc(vm, 'connect')[0]['code'] == 'SCARD_E_READER_UNAVAILABLE'
    ours = lines_of_ours(vm, cursor)
    assert len(ours) == 1, f'said once: {ours}'
    assert 'claimed by another program' in ours[0][2] and 'pcscd' in ours[0][2], ours
    assert is_active(vm, instance) == 'active'

    watcher = vm.start(f'{tool("watch.py", "card", "")} > /tmp/card.log 2>&1')
    await_line(vm, '/tmp/card.log', 'wait')
    vm.run('systemctl stop pcscd.socket pcscd.service')
    await_line(vm, '/tmp/card.log', '"atr": "3b', timeout=20)  # it works again by itself, and those who wait hear of it
    watcher.kill()
    assert pcsc(vm, 'connect')[0]['code'] == OK
    opensc_atr(vm)


def test_second_comer_is_pcscd(vm):
    """While our handler has the interface, pcscd gets nothing and disturbs nothing."""
    vm.plug()
    await_readers(vm, 1)
    worker = vm.start(tool('watch.py', 'work', '', '00a4040007a0000000790100', 300))
    vm.run('systemctl start pcscd.service')
    vm.run(f'{THEIR_LIBRARY} {tool("winscard.py", "list")}')
    status, output = worker.wait()
    assert status == 0 and '"done": 300' in output and output.count('"transmit"') == 0, output
    opensc_atr(vm)

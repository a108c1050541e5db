# SPDX-License-Identifier: MIT
"""A reader is plugged in, and unmodified programs work with it through our library."""
import json
import re

from steps import (ATR, OK, await_nothing_left, await_readers, list_readers, main_pid, opensc_atr, pcsc, reader_name,
                   sign_and_verify, tool)

PYSCARD = '''
from smartcard.System import readers
from smartcard.util import toHexString
for reader in readers():
    connection = reader.createConnection()
    connection.connect()
    print(reader, '|', toHexString(connection.getATR()))
'''


def test_listed_by_everybody(vm):
    assert list_readers(vm) == []
    assert 'No smart card readers found' in vm.try_run('opensc-tool -l')[1]
    vm.plug()
    instance, = await_readers(vm, 1)
    name = reader_name(vm, instance)
    assert re.fullmatch(r'\S.* 00 00', name) and len(name) <= 127, name
    assert list_readers(vm) == [name]
    assert name in vm.run('pcsc_scan -r')
    assert name in vm.run('opensc-tool -l')
    opensc_atr(vm)
    vm.put('/root/list.py', PYSCARD.encode())
    assert f'{name} | {ATR.replace(":", " ").upper()}' in vm.run('python3 list.py')
    vm.unplug()
    await_nothing_left(vm)
    assert list_readers(vm) == []
    vm.plug()
    await_readers(vm, 1)
    assert list_readers(vm) == [name], 'the name is the same after a replug'


def test_library_is_the_systems(vm):
    """The programs use our library because the linker finds it first; nothing of the distribution has changed."""
    first = vm.run('ldconfig -p | grep "libpcsclite.so.1 "').splitlines()[0]
    assert first.endswith('/ifdhandler/libpcsclite.so.1'), first
    changed = vm.run('dpkg --verify libpcsclite1 pcscd libccid opensc udev systemd | grep -v /usr/share/; true')
    assert changed == ''
    vm.plug()
    await_readers(vm, 1)
    opensc_atr(vm)
    assert vm.try_run('systemctl is-active pcscd.service')[1].strip() == 'inactive'
    assert vm.try_run('pgrep pcscd')[1] == ''


def test_pki_card(vm):
    vm.plug()
    await_readers(vm, 1)
    sign_and_verify(vm)


def test_pki_card_on_xhci(vm):
    """On xHCI QEMU sends a stray empty packet after every answer whose length is a multiple of 64."""
    vm.plug(bus='xhci.0', port='1')
    await_readers(vm, 1)
    sign_and_verify(vm)
    for _ in range(3):
        opensc_atr(vm)
        sign_and_verify(vm)


def test_card_out_and_in(vm):
    vm.plug()
    instance, = await_readers(vm, 1)
    job = vm.start(tool('watch.py', 'card', '') + ' > /tmp/card.log')
    vm.wait_for('grep -q wait /tmp/card.log')
    for _ in range(5):
        vm.remove_card()
        vm.wait_for('tail -n 1 /tmp/card.log | grep -q \'"atr": ""\'')
        assert pcsc(vm, 'connect')[0]['code'] == 'SCARD_E_NO_SMARTCARD'
        vm.insert_card()
        vm.wait_for(f'tail -n 1 /tmp/card.log | grep -q {ATR.replace(":", "")}')
        opensc_atr(vm)
    job.kill()
    assert main_pid(vm, instance) > 1, 'the same handler all along'


def test_one_transfer_each_way(vm):
    """Ten commands more are exactly ten bulk OUT and ten bulk IN transfers more."""
    vm.plug()
    instance, = await_readers(vm, 1)
    bus, device = instance.split('-')
    select = '00a4040007a0000000790100'

    def transfers(count):
        command = tool('winscard.py', 'apdu', '', *[select] * count)
        result = vm.run(f'{tool("usbmon.py", bus, device)} {command}')
        seen = json.loads(result)
        assert seen['status'] == 0 and seen['output'].count('"transmit", "code": "SCARD_S_SUCCESS"') == count, seen
        return seen['completed']
    transfers(1)  # the card is powered from here on
    few, many = transfers(1), transfers(11)
    assert many.get('Bo', 0) - few.get('Bo', 0) == 10, (few, many)
    assert many.get('Bi', 0) - few.get('Bi', 0) == 10, (few, many)


def test_two_readers(vm):
    """Each has its own handler under its own unprivileged user, which can open nothing but its own node."""
    vm.plug('ccid0', port='1')
    await_readers(vm, 1)
    vm.plug('ccid1', port='2', card=False)
    both = await_readers(vm, 2)
    assert len(set(list_readers(vm))) == 2
    vm.wait_for('test $(pgrep -xc ifdhandler) = 2')
    users = {}
    for instance in both:
        pid = main_pid(vm, instance)
        uids = vm.run(f'sed -n "s/^Uid:\\s*//p" /proc/{pid}/status').split()
        assert len(set(uids)) == 1 and uids[0] != '0', uids
        users[uids[0]] = vm.run(f'ps -o user:32= -p {pid}').strip()
        capabilities = vm.run(f'sed -n "s/^Cap[PEBA][a-z]*:\\s*//p" /proc/{pid}/status').split()
        assert set(capabilities) == {'0' * 16}, capabilities
    assert len(users) == 2 and set(users.values()) == {f'ifd-{instance}' for instance in both}, users
    assert vm.run('find /usr/sbin/ifdhandler /usr/bin/reader-ctl -perm /6000') == ''
    vm.unplug('ccid1')
    assert await_readers(vm, 1) == [both[0]]
    opensc_atr(vm)
    assert pcsc(vm, 'connect')[0]['code'] == OK

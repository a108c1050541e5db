# SPDX-License-Identifier: MIT
"""Wrong use, hostile clients, hostile devices: each gets an answer or is dropped; others can go on."""
import time

from steps import (RUN, Emulated, as_user, await_readers, description, instances, lines, list_readers, main_pid,
                   opensc_atr, tool)

PROTOCOL_ERROR = 50


def refused(vm, command, *words, user=None):
    """reader-ctl fails with a status of its own and names what it is about."""
    status, output = vm.try_run(as_user(user, command) if user else command)
    assert 0 < status < 126, f'status {status}: {command}\n{output}'
    for word in words:
        assert word in output, f'no "{word}" in: {output}'


def test_reader_ctl(vm):
    vm.plug()
    instance, = await_readers(vm, 1)
    name, = list_readers(vm)
    refused(vm, 'reader-ctl status "No Such Reader"', 'No Such Reader')
    refused(vm, 'reader-ctl apdu "No Such Reader" 00a4', 'No Such Reader')
    refused(vm, f'reader-ctl apdu "{name}" 00zz', '00zz')
    refused(vm, f'reader-ctl apdu "{name}" 00a', '00a')
    refused(vm, 'reader-ctl attach /dev/bus/usb/099/099', '/dev/bus/usb/099/099')
    refused(vm, 'reader-ctl attach /dev/bus/usb/001/001', '/dev/bus/usb/001/001')  # a hub
    refused(vm, 'reader-ctl attach usb:ffff/ffff/0 usb /dev/bus/usb/099/099')
    refused(vm, 'reader-ctl detach "No Such Reader"', 'No Such Reader')
    refused(vm, 'reader-ctl no-such-command', 'no-such-command')
    refused(vm, f'reader-ctl detach {instance}', user='plain')
    refused(vm, 'reader-ctl shutdown', user='plain')
    refused(vm, f'reader-ctl apdu "{name}" 00a40000', user='plain')
    assert instances(vm) == [instance]
    opensc_atr(vm)


def test_clients(vm):
    """Every wrong form of the protocol ends its own connection; half a frame and silence end after their time."""
    vm.plug()
    instance, = await_readers(vm, 1)
    opensc_atr(vm)
    pid = main_pid(vm, instance)
    socket = f'{RUN}/{instance}.sock'
    slow = {form: vm.start(tool('wire.py', socket, form)) for form in ('nothing', 'half')}
    right = lines(vm.run(tool('wire.py', socket, 'hello')))[0]
    assert [frame['type'] for frame in right['frames']] == [0x81, 0x83, 0x82] and not right['closed'], right
    for form in ('garbage', 'huge', 'unknown', 'early', 'short', 'long'):
        answer = lines(vm.run(tool('wire.py', socket, form)))[0]
        assert answer['closed'] and answer['seconds'] < 2, answer
        last = answer['frames'][-1]
        assert last['type'] == 0x84 and last['status'] == PROTOCOL_ERROR and last['text'], answer
        opensc_atr(vm)
    for form, job in slow.items():
        answer = lines(job.wait()[1])[0]
        assert answer['closed'] and 8 < answer['seconds'] < 15, answer
    opensc_atr(vm)
    assert main_pid(vm, instance) == pid, 'the same handler all along'


def test_many_silent_connections(vm):
    """500 connections that say nothing keep nobody else out, and are closed."""
    vm.plug()
    instance, = await_readers(vm, 1)
    opensc_atr(vm)
    program = f'''
import socket, time
all = [socket.socket(socket.AF_UNIX) for _ in range(500)]
for one in all: one.connect("{RUN}/{instance}.sock")
print("connected", flush=True)
for one in all:
    one.settimeout(20)
    while one.recv(4096): pass
print("closed", flush=True)
'''
    vm.put('/root/silent.py', program.encode())
    crowd = vm.start('python3 silent.py > silent.log 2>&1')
    vm.wait_for('grep -q connected silent.log')
    opensc_atr(vm)
    crowd.wait()
    assert vm.run('tail -n 1 silent.log') == 'closed', vm.run('cat silent.log')
    opensc_atr(vm)


def odd_device(vm, model):
    """Plugs one more device of that model beside QEMU's reader; returns its instance, or None where it is no reader."""
    before = set(instances(vm))
    device = Emulated(vm, '-m', model)
    try:
        node = vm.wait_for(tool('model-ctl', '-s', '/run/model.sock', 'node', '0') + ' | grep /dev/')
        instance = node.partition('/usb/')[2].replace('/', '-')
        vm.run('udevadm settle')
        time.sleep(1)
        new = set(instances(vm)) - before
        assert new <= {instance}, (new, node)
        found = description(vm, instance) if new else None
        opensc_atr(vm)
        return found
    finally:
        device.command('quit')
        vm.wait_for(f'test "$(ls {RUN}/*.reader | wc -l)" = {len(before)}')


def test_devices(vm):
    """Odd devices beside a good reader, which stays first and usable."""
    vm.plug()
    await_readers(vm, 1)
    opensc_atr(vm)
    assert odd_device(vm, 'not-a-reader') is None
    for model in ('lying-descriptor', 'no-bulk-in', 'short-class-descriptor'):
        found = odd_device(vm, model)
        assert found and found['reader'], f'{model}: a reader is listed, whatever its descriptors say: {found}'
    vm.unplug()
    vm.wait_for(f'! ls {RUN}/*.reader')
    assert vm.run('systemctl --failed --no-legend') == ''

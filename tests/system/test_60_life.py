# SPDX-License-Identifier: MIT
"""Crashes, stops, detaching and shutting down."""
import json
import time

from steps import (ATR, OK, ONE_SECOND, Emulated, await_line, await_nothing_left, await_readers, figure, instances,
                   is_active, lines, list_readers, main_pid, node_of, opensc_atr, pcsc, reader_name, service, tool)

LONG_COMMAND = '00ed0064'  # the model's card answers after 10 s, with a time extension every 100 ms


def test_killed_in_a_command(vm):
    """One reader's handler dies in the middle of a command; the other reader notices nothing."""
    vm.plug()
    other, = await_readers(vm, 1)
    Emulated(vm, '-m', 'generic-short-apdu', '-c', 'B')
    victim, = set(await_readers(vm, 2)) - {other}
    vm.wait_for(f'systemctl -q is-active {service(victim)}')
    worker = vm.start(tool('watch.py', 'work', reader_name(vm, other), '00a4040007a0000000790100', 0))
    victim_name, pid = reader_name(vm, victim), main_pid(vm, victim)
    result = json.loads(vm.run(tool('crash.py', victim_name, pid, LONG_COMMAND)))
    assert result['interrupted'] != OK and result['after_kill'] < ONE_SECOND, result
    assert (result['list'], result['listed'], result['connect'], result['transmit']) == (OK, True, OK, OK), result
    assert result['again'] < 2 * ONE_SECOND, result
    figure(f'killed: error after {result["after_kill"]:.2f} s, works again after {result["again"]:.2f} s')
    assert main_pid(vm, victim) not in (0, pid), 'systemd has restarted it'
    seen = lines(worker.kill())
    assert seen[-1]['done'] > 10 and len(seen) == 2, f'the other reader: {seen}'
    assert main_pid(vm, other) > 1 and vm.run('systemctl --failed --no-legend') == ''


def test_hung_command_holds_up_nobody(vm):
    """A reader that never answers: other readers work and listing is immediate."""
    vm.plug()
    other, = await_readers(vm, 1)
    Emulated(vm, '-m', 'generic-short-apdu', '-c', 'B')
    victim, = set(await_readers(vm, 2)) - {other}
    hung = vm.start(tool('winscard.py', 'apdu', reader_name(vm, victim), '00ee0000'))
    vm.run('sleep 1')
    listing = pcsc(vm, 'list')[0]
    assert listing['code'] == OK and len(listing['readers']) == 2 and listing['seconds'] < 0.5, listing
    begin = time.monotonic()
    assert vm.run('opensc-tool -l', 20).count('[CCID Interface]') == 2
    figure(f'opensc-tool -l beside a hung reader: {time.monotonic() - begin:.1f} s')
    opensc_atr(vm)
    vm.run(f'systemctl kill -s KILL {service(victim)}')
    hung.wait()
    opensc_atr(vm)


def test_stop(vm):
    vm.plug()
    instance, = await_readers(vm, 1)
    opensc_atr(vm)
    vm.run(f'systemctl stop {service(instance)}')
    assert is_active(vm, instance) == 'inactive'
    assert vm.run('systemctl --failed --no-legend') == ''
    assert len(list_readers(vm)) == 1, 'the reader is still there'
    opensc_atr(vm)
    assert is_active(vm, instance) == 'active', 'the next client has started it'
    vm.run(f'systemctl restart {service(instance)}')
    opensc_atr(vm)
    vm.run('udevadm trigger; udevadm settle; systemctl daemon-reload; systemctl restart systemd-udevd; '
           'udevadm trigger -c add; udevadm settle')
    assert is_active(vm, instance) == 'active', 'udev triggers do not touch a running handler'
    opensc_atr(vm)


def test_detach_and_attach(vm):
    vm.plug()
    instance, = await_readers(vm, 1)
    name, = list_readers(vm)
    vm.run(f'reader-ctl detach "{name}"')
    assert list_readers(vm) == [] and vm.try_run('pgrep -x ifdhandler')[1] == ''
    vm.run('udevadm trigger -c change; udevadm settle; sleep 1')
    assert list_readers(vm) == [], 'detached stays detached'
    vm.run(f'reader-ctl attach {node_of(instance)}')
    await_readers(vm, 1)
    assert list_readers(vm) == [name]
    opensc_atr(vm)
    vm.run(f'reader-ctl detach {instance}')
    assert list_readers(vm) == []
    vm.unplug()
    await_nothing_left(vm)
    vm.plug()
    await_readers(vm, 1)
    opensc_atr(vm)  # the wish was for that life of the device


def test_shutdown_and_init(vm):
    vm.plug()
    await_readers(vm, 1)
    opensc_atr(vm)
    vm.run('reader-ctl shutdown')
    assert vm.try_run('pgrep -x ifdhandler')[1] == '' and instances(vm) == []
    assert vm.try_run('ls /run/ifdhandler/*.sock')[0] != 0
    vm.run('udevadm trigger; udevadm settle')
    vm.unplug()
    vm.plug()
    vm.wait_for('lsusb | grep -q 08e6')
    vm.run('udevadm settle; sleep 1')
    assert list_readers(vm) == [], 'shut down stays shut down'
    vm.run('reader-ctl init')
    await_readers(vm, 1)
    opensc_atr(vm)
    assert vm.run('systemctl --failed --no-legend') == ''


def test_status(vm):
    vm.plug()
    instance, = await_readers(vm, 1)
    name, = list_readers(vm)
    worker = vm.start(f'{tool("watch.py", "work", "", "00a4040007a0000000790100", 0)} > /tmp/work.log')
    await_line(vm, '/tmp/work.log', 'connect')
    assert name in vm.run('reader-ctl list')
    json.loads(vm.run('reader-ctl list --json'))
    status = vm.run('reader-ctl status')
    pid = vm.run('pgrep -fo "python3 .*watch.py"')
    for word in (name, service(instance), ATR.replace(':', ' '), 'watch.py', f'pid {pid}', 'root', 'shared'):
        assert word.lower() in status.lower(), f'no {word} in:\n{status}'
    json.loads(vm.run('reader-ctl status --json'))
    answer = vm.run(f'reader-ctl apdu "{name}" 00a4040007a0000000790100')
    assert '61' in answer, answer
    worker.kill()

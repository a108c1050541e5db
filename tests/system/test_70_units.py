# SPDX-License-Identifier: MIT
"""What systemd and udev say of our files."""
import json

from steps import await_gone, await_readers, node_of, opensc_atr, service


def test_verify(vm):
    """systemd-analyze finds nothing to say about any unit."""
    vm.plug()
    instance, = await_readers(vm, 1)
    vm.run('mkdir -p /run/verify')
    units = vm.run('cd /usr/lib/systemd/system && ls ifdhandler*').split()
    assert len(units) >= 5, units
    named = [unit.replace('@.', f'@{instance}.') for unit in units]
    status, output = vm.try_run(f'systemd-analyze verify --man=no {" ".join(named)} 2>&1 | grep -i ifdhandler')
    assert output == '', output


def test_rules(vm):
    """udevadm test runs the rules on a reader: no complaint, and the properties and permissions that are wanted."""
    vm.plug()
    instance, = await_readers(vm, 1)
    path = vm.run(f'udevadm info -q path {node_of(instance)}')
    output = vm.run(f'udevadm test --action=change {path} 2>&1')
    complaints = [line for line in output.splitlines() if '71-ifdhandler' in line and
                  any(word in line.lower() for word in ('invalid', 'unknown', 'failed', 'ignoring', 'error')) and
                  not line.endswith('No data available')]  # no row has that property
    assert not complaints, complaints
    assert f'ifdhandler@{instance}.service' in output and 'PCSCLITE_IGNORE=1' in output, output
    assert vm.run(f'cat /sys{path}/power/persist') == '0'
    assert vm.run(f'cat /sys{path}/power/control') == 'auto'
    properties = vm.run(f'udevadm info -q property {node_of(instance)}').splitlines()
    assert 'IFDHANDLER_DRIVER=ccid' in properties, properties
    tags = [line for line in properties if line.startswith('CURRENT_TAGS=')][0]
    assert ':systemd:' in tags and ':uaccess:' not in tags, tags


def in_force(vm):
    """What reader-ctl says of the reader: quirks and what they change."""
    reader, = json.loads(vm.run('reader-ctl status --json'))
    found = reader['slots'][0]
    return [found.get(key) for key in ('quirks', 'unknown-quirk', 'max-speed')]


def test_rows(vm):
    """A row of an administrator adds to ours without a build, whatever its file is called, and a rule's words take its place."""
    vm.run(r"""mkdir -p /etc/udev/hwdb.d; printf 'ifdhandler:usb:8e6/4433/*\n IFDHANDLER_QUIRKS=max-rate=9600 -emv-escape\n'"""
           r""" > /etc/udev/hwdb.d/10-ours.hwdb; systemd-hwdb update""")
    vm.plug()
    await_readers(vm, 1)
    assert in_force(vm) == ['gemalto max-rate=9600', None, '9600 bit/s'], in_force(vm)
    opensc_atr(vm)
    vm.unplug()
    await_gone(vm)
    vm.run(r"""printf '%s\n' 'ACTION!="remove", SUBSYSTEM=="usb", ENV{DEVTYPE}=="usb_device", '"""
           r"""'ENV{IFDHANDLER_QUIRKS}="no-pps no-such-word", ENV{IFDHANDLER_AUTOSUSPEND}="0"' """
           r"""> /etc/udev/rules.d/70-ours.rules; udevadm control --reload""")
    vm.plug()
    instance, = await_readers(vm, 1)
    quirks, unknown, speed = in_force(vm)
    assert set(quirks.split()) == {'emv-escape', 'gemalto', 'no-pps'}, quirks
    assert unknown == 'no-such-word' and speed != '9600 bit/s', (unknown, speed)
    path = vm.run(f'udevadm info -q path {node_of(instance)}')
    assert vm.run(f'cat /sys{path}/power/control') == 'on'
    opensc_atr(vm)


test_rows.timeout = 200


def test_autosuspend(vm):
    """A reader that no handler has open sleeps, wakes up for the next program, and does not sleep while that uses it."""
    vm.plug()
    instance, = await_readers(vm, 1)
    opensc_atr(vm)
    path = vm.run(f'udevadm info -q path {node_of(instance)}')
    state = f'cat /sys{path}/power/runtime_status'
    assert vm.run(state) == 'active'
    vm.run(f'systemctl stop {service(instance)}')
    vm.wait_for(f'test $({state}) = suspended', 20)
    opensc_atr(vm)
    assert vm.run(f'sleep 3; {state}') == 'active'


def test_sandbox(vm):
    vm.plug()
    instance, = await_readers(vm, 1)
    rating = vm.run(f'systemd-analyze security --no-pager {service(instance)} | tail -n 1')
    exposure = float(rating.split(': ')[1].split()[0])
    assert exposure <= 1.0, rating

# SPDX-License-Identifier: MIT
"""Recorded devices (tests/model/models/field) behind the kernel's own USB: those whose way through kernel and udev is not the plain one,
all at once, each found by our rules, a handler for each; and what the distribution's pcscd and CCID driver make of a dozen.
The others are for tests/process/usb-field.sh: a device costs this machine a second."""
import os
import sys
import time

from steps import RUN, Emulated, await_readers, figure, lines, list_readers, plain_units, tool

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../process'))
import field  # noqa: E402

TOGETHER = 15  # plugged in
EVERY = 3
COMMAND, ANSWER = '00cb000404', '000102039000'
# For pcscd, which has room for sixteen readers: of each kind, and none of those in tests/witness/DIFFERENCES.md.
SAMPLE = ('08e6-3437-0201', '04e6-5116-0523', '076b-3021-0302', '0d46-301d-0100', '1050-0407-0503', '072f-221a-0200',
          '20a0-4211-0200', '08e6-5504-0100', '08e6-3480-0100', '0a89-0060-0102', '09d8-0428-0200', '1059-000c-0100')


def chosen():
    """Found by their ids, tokens, with other speeds, with several interfaces; IFDHANDLER_TEST_FIELD=all: all that our data names."""
    return [device for device in field.devices() if not device.is_left_alone
            and (os.environ.get('IFDHANDLER_TEST_FIELD') == 'all' or device.is_vendors or device.is_token
                 or not device.is_full_speed or len(device.interfaces) > 1)]


def emulated(vm, devices, *options):
    return Emulated(vm, *(word for device in devices for word in ('-m', f'field/{device.name}', *options)))


def exchange(vm, environment='', every=1):
    return lines(vm.run(f'{environment} {tool("exchange.py", COMMAND, every)}', 240))


def for_each(vm, numbers, *words):
    """A command of the emulation for each of these readers; its output, without the answers of plug."""
    control = tool('model-ctl', '-s', '/run/model.sock', *words)
    return vm.run(f'for i in {" ".join(map(str, numbers))}; do {control} $i || exit; done | grep -v ^node=; true')


def said(found):
    """What does not depend on a stack's way to name readers: for each place on the bus, ATRs and answers."""
    places = {}
    for line in found:
        places.setdefault(line.get('place'), []).append((line.get('atr'), line.get('answer')))
    return {place: sorted(some, key=str) for place, some in places.items()}


def test_all_devices(vm):
    """All are registered, with all their slots; the cards of every third answer; nothing that CCID forbids is done to any."""
    devices = chosen()
    plain_units(vm)
    began = time.monotonic()
    emulated(vm, devices, '-u')
    for at in range(0, len(devices), TOGETHER):
        numbers = range(at, min(at + TOGETHER, len(devices)))
        for_each(vm, numbers, 'plug')
        await_readers(vm, numbers[-1] + 1, 120)
    registered = time.monotonic()
    errors = vm.run(f'grep -H ^error= {RUN}/*.reader; true')
    assert not errors, errors
    names = list_readers(vm)
    assert len(names) == sum(len(device.slots) for device in devices), names
    found = exchange(vm, every=EVERY)
    figure(f'{len(devices)} devices with {len(names)} slots: registered after {registered - began:.1f} s, an APDU with '
           f'{len(found)} of them {time.monotonic() - registered:.1f} s later')
    wrong = [line for line in found if line.get('answer') != ANSWER]
    assert len(found) == len(names[::EVERY]) and not wrong, wrong
    # The kernel's HID driver says SET_IDLE (HID 1.11 7.2.4) to the keyboards among them.
    violations = [line for line in for_each(vm, range(len(devices)), 'violations').splitlines()
                  if not line.startswith('class request 0a to interface')]
    assert not violations, violations
    failed = vm.run('systemctl --failed --no-legend --plain')
    assert not failed, failed


test_all_devices.timeout = 600


def test_beside_pcscd(vm):
    """The same devices, one stack after the other: the same ATRs and the same answers."""
    by_name = {device.name: device for device in field.devices()}
    devices = [by_name[name] for name in SAMPLE]
    emulated(vm, devices)
    await_readers(vm, len(devices), 120)
    ours = exchange(vm)
    assert all(line.get('answer') == ANSWER for line in ours), ours
    vm.run("systemctl stop 'ifdhandler@*.service' 'ifdhandler@*.socket'")
    vm.run('systemctl start pcscd.service')
    theirs_library = 'LD_LIBRARY_PATH=$(dirname $(ls /usr/lib/*/libpcsclite.so.1))'
    theirs = exchange(vm, theirs_library)
    figure(f'{len(theirs)} readers of pcscd')
    assert said(theirs) == said(ours), (theirs, ours)


test_beside_pcscd.timeout = 400

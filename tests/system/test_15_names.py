# SPDX-License-Identifier: MIT
"""What an administrator sets: parts added to names, readers left out, own names, the time that cards stay powered; and an
order that does not depend on which reader was faster at boot."""
from steps import await_gone, await_readers, description, list_readers, opensc_atr

DEFAULTS = '/etc/default/ifdhandler'


def set_defaults(vm, text):
    vm.put(DEFAULTS, text.encode())
    vm.run('systemctl daemon-reload')


def test_filters(vm):
    vm.plug()
    await_readers(vm, 1)
    name, = list_readers(vm)
    base = name[:-6]
    vm.unplug()
    await_gone(vm)

    set_defaults(vm, 'PCSCLITE_FILTER_EXTEND_READER_NAMES=" on this host"\n')
    vm.plug()
    await_readers(vm, 1)
    assert list_readers(vm) == [f'{base} on this host 00 00'], list_readers(vm)
    opensc_atr(vm)
    vm.unplug()
    await_gone(vm)

    set_defaults(vm, 'PCSCLITE_FILTER_IGNORE_READER_NAMES="nobody:[CCID Interface]"\n')
    vm.plug()
    instance, = await_readers(vm, 1)
    assert list_readers(vm) == []
    assert '[CCID Interface]' in description(vm, instance)['ignored']
    assert 'PCSCLITE_FILTER_IGNORE_READER_NAMES' in vm.run('reader-ctl list'), vm.run('reader-ctl list')
    vm.unplug()
    await_gone(vm)

    vm.run(f'rm {DEFAULTS}; systemctl daemon-reload')
    vm.plug()
    await_readers(vm, 1)
    assert list_readers(vm) == [name]


test_filters.timeout = 200


def test_properties(vm):
    """An own name, and a card that stays powered: its handler does not leave."""
    vm.run('''printf '%s\\n' 'ACTION!="remove", SUBSYSTEM=="usb", ENV{DEVTYPE}=="usb_device", ENV{IFDHANDLER_NAME}="Desk 3", '''
           '''ENV{IFDHANDLER_GRACE}="0"' > /etc/udev/rules.d/70-desk.rules; udevadm control --reload''')
    vm.plug()
    instance, = await_readers(vm, 1)
    assert list_readers(vm) == ['Desk 3 00 00'], list_readers(vm)
    opensc_atr(vm)
    status = vm.run('reader-ctl status')
    assert 'kept, however long' in status, status


def test_coldplug_in_the_order_of_ports(vm):
    """Readers that were there before any was registered: the lower port comes first, whatever udev does first."""
    vm.run('systemctl stop systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udevd.service')
    vm.plug('late', port='2', card=False)
    vm.plug('early', port='1', card=False)
    vm.wait_for('test $(ls /sys/bus/usb/devices/*/bInterfaceClass | xargs grep -l 0b | wc -l) = 2')
    vm.run('systemctl start systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udevd.service')
    # as at boot, but the higher port first
    paths = vm.run('for i in $(grep -l 0b /sys/bus/usb/devices/*/bInterfaceClass); do d=$(dirname $i); '
                   'd=$(readlink -f $d/..); echo $(cat $d/devpath) $d; done | sort -r').split()
    assert paths[0::2] == ['2', '1'], paths
    for path in paths[1::2]:
        vm.run(f'udevadm trigger -c add {path}; udevadm settle')
    await_readers(vm, 2)
    # QEMU's serial numbers end in the port
    ports = [name.partition(')')[0][-1] for name in list_readers(vm)]
    assert ports == ['1', '2'], list_readers(vm)


test_coldplug_in_the_order_of_ports.timeout = 200

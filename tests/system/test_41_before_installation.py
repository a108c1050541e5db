# SPDX-License-Identifier: MIT
"""A reader that was there before we were installed."""
from steps import OK, ONE_SECOND, as_user, await_readers, list_readers, node_of, opensc_atr, pcsc, seat_session
from test_40_access import open_node

INSTALLED = False


def test_node_plugged_before(vm):
    """A user at the seat has an ACL on the node from the distribution's rules; installing takes it away."""
    seat_session(vm, 'seated')
    vm.plug()
    vm.wait_for('lsusb | grep -q 08e6')
    bus, device = vm.run('lsusb -d 08e6: | tr -d :').split()[1:4:2]
    node = f'/dev/bus/usb/{bus}/{device}'
    vm.wait_for(f'getfacl -cp {node} | grep -q user:seated', 30)
    assert open_node(vm, 'seated', node) == 'open', 'without this the test proves nothing'
    vm.install()
    instance, = await_readers(vm, 1)
    assert node_of(instance) == node
    for user in ('seated', 'member', 'plain'):
        assert open_node(vm, user, node) == 'Permission denied', user
    assert 'user:seated' not in vm.run(f'getfacl -cp {node}')
    name, = list_readers(vm)
    assert pcsc(vm, 'connect', name, user='seated')[0]['code'] == OK
    opensc_atr(vm)
    assert vm.try_run(as_user('plain', 'opensc-tool -a'))[0] != 0


def test_pcscd_had_it_before(vm):
    """pcscd holds the interface when we are installed; stopping it is all that is needed."""
    vm.plug()
    vm.wait_for('pcsc_scan -r | grep -q 00.00')
    vm.run('systemctl -q is-active pcscd.service')
    vm.install()
    await_readers(vm, 1)
    answer = pcsc(vm, 'connect')[0]
    assert answer['code'] == 'SCARD_E_READER_UNAVAILABLE' and answer['seconds'] < ONE_SECOND, answer
    vm.run('systemctl stop pcscd.socket pcscd.service')
    assert pcsc(vm, 'until', '', '10')[-1]['code'] == OK
    opensc_atr(vm)

# SPDX-License-Identifier: MIT
"""The system sleeps and wakes up: the reader stays, its card counts as reset, and nobody has to be started anew."""
from steps import OK, await_readers, lines, list_readers, main_pid, opensc_atr, tool

# One connection over the sleep: before, and after /tmp/awake has come.
HOLDER = '''
import json, os, sys, time
sys.path.insert(0, '/usr/local/lib/ifdhandler-tests')
import ctypes
import winscard
SELECT = '00a4040007a0000000790100'
def tell(call, code):
    print(json.dumps({'call': call, 'code': code}), flush=True)
context = winscard.Context()
code, card = context.connect(winscard.find(context, ''))
tell('connect', code)
tell('before', card.transmit(SELECT)[0])
while not os.path.exists('/tmp/awake'):
    time.sleep(0.1)
tell('after', card.transmit(SELECT)[0])
active = ctypes.c_ulong()
tell('reconnect', winscard.code_name(card.library.SCardReconnect(card.handle, ctypes.c_ulong(2), ctypes.c_ulong(3),
                                                                 ctypes.c_ulong(0), ctypes.byref(active))))
tell('again', card.transmit(SELECT)[0])
'''


def sleep_once(vm):
    """All processes are frozen and all devices suspended, and after a second the other way round: what a suspend is to them.
    Nothing wakes this machine up from a real one."""
    vm.run('cd /sys/power && echo 1 > /sys/module/suspend/parameters/pm_test_delay && echo devices > pm_test && '
           'echo freeze > state; echo none > pm_test', 60)


def hold(vm):
    """A client with a card and one that waits for changes."""
    vm.run('rm -f /tmp/awake /tmp/*.log')
    vm.put('/root/hold.py', HOLDER.encode())
    vm.start(f'{tool("watch.py", "card", "")} > /tmp/card.log')
    vm.start('python3 /root/hold.py > /tmp/hold.log 2>&1')
    vm.wait_for('grep -q before /tmp/hold.log && grep -q wait /tmp/card.log')


def after(vm):
    """What the client with the card was told."""
    vm.run('touch /tmp/awake')
    vm.wait_for('grep -q again /tmp/hold.log', 20)
    return {line['call']: line['code'] for line in lines(vm.run('cat /tmp/hold.log'))}


def states(vm):
    return [line['state'] for line in lines(vm.run('cat /tmp/card.log'))]


def power_of(vm, instance):
    """The directory power/ of the device in sysfs."""
    bus, device = (int(number) for number in instance.split('-'))
    return vm.run(f'for d in /sys/bus/usb/devices/[0-9]*; do grep -qsx {bus} $d/busnum && grep -qsx {device} $d/devnum && '
                  'echo $d/power; done; true').strip()


def test_sleep(vm):
    """CCID 150: a card in use and a client that waits, over suspends that the device survives and not."""
    vm.plug()
    instance, = await_readers(vm, 1)
    name = list_readers(vm)
    # QEMU's controllers lose their state in a suspend. With this the kernel keeps the device: transfers end, claims are lost.
    vm.run(f'echo 1 > {power_of(vm, instance)}/persist')
    hold(vm)
    pid, seen = main_pid(vm, instance), len(states(vm))
    sleep_once(vm)
    codes = after(vm)
    assert codes['before'] == OK, codes
    assert codes['after'] in ('SCARD_W_RESET_CARD', 'SCARD_W_REMOVED_CARD'), codes
    assert codes['reconnect'] == OK and codes['again'] == OK, codes
    assert main_pid(vm, instance) == pid and list_readers(vm) == name, 'reader and handler have stayed'
    vm.wait_for(f'test $(wc -l < /tmp/card.log) -gt {seen}')
    opensc_atr(vm)
    # Without, it is plugged in anew.
    vm.run(f'echo 0 > {power_of(vm, instance)}/persist')
    hold(vm)
    seen = len(states(vm))
    sleep_once(vm)
    codes = after(vm)
    assert codes['before'] == OK and codes['after'] != OK, codes
    vm.wait_for(f'test ! -e /run/ifdhandler/{instance}.reader')
    await_readers(vm, 1)
    assert list_readers(vm) == name, 'the reader has its name again'
    vm.wait_for(f'test $(wc -l < /tmp/card.log) -gt {seen}')
    opensc_atr(vm)

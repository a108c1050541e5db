# SPDX-License-Identifier: MIT
"""A handler that nobody uses ends; its reader stays, and the next client finds the card."""
import time

from steps import (ATR, await_readers, figure, is_active, lines, lines_of_ours, list_readers, main_pid, node_of,
                   opensc_atr, service, tool)

IDLE = 60  # seconds, the default


def interface_is_free(vm, instance):
    """No process has the node open."""
    return vm.try_run(f'fuser {node_of(instance)}')[0] != 0


def test_exit_when_nobody_came(vm):
    """The default of 60 s, while a program lists once a second: listing is no use of a reader."""
    vm.plug()
    instance, = await_readers(vm, 1)
    vm.wait_for(f'systemctl -q is-active {service(instance)}')
    name = list_readers(vm)
    cursor = vm.cursor()
    lister = vm.start(tool('watch.py', 'list'))
    begin = time.monotonic()
    vm.wait_for(f'! systemctl -q is-active {service(instance)}', IDLE + 20, every=1)
    passed = time.monotonic() - begin
    assert passed > IDLE - 15, f'idle after {passed:.0f} s'
    assert is_active(vm, instance) == 'inactive'
    assert vm.try_run('pgrep -x ifdhandler')[1] == ''
    assert interface_is_free(vm, instance)
    time.sleep(3)
    assert main_pid(vm, instance) == 0, 'a program that lists starts no handler'
    listed = lines(lister.kill())
    assert len(listed) >= IDLE - 15 and {tuple(line['readers']) for line in listed} == {tuple(name)}
    opensc_atr(vm)
    assert main_pid(vm, instance) > 1
    assert lines_of_ours(vm, cursor) == [], 'an idle exit and the next start are no news'


test_exit_when_nobody_came.timeout = 240


def test_next_client_finds_the_card(vm):
    """100 times: the handler has ended, and the next opensc-tool -a finds the card at the first try."""
    vm.plug()
    instance, = await_readers(vm, 1)
    unit = service(instance)
    # 100 starts in a minute are many more than an idle time of 5 s allows
    vm.run(f'mkdir -p /run/systemd/system/{unit}.d; printf "[Unit]\\nStartLimitIntervalSec=0\\n" > '
           f'/run/systemd/system/{unit}.d/test.conf; systemctl daemon-reload')
    opensc_atr(vm)
    loop = f'''
for i in $(seq 100); do
	kill -TERM $(systemctl show --value -p MainPID {unit}); while systemctl -q is-active {unit}; do sleep 0.02; done
	opensc-tool -a > out 2>&1 && grep -q {ATR} out && echo found || {{ echo "round $i"; cat out; }}
done'''
    output = vm.run(loop, 580)
    assert output.count('found') == 100, output


test_next_client_finds_the_card.timeout = 600


def test_at_rest(vm):
    """A card is in, a client waits: the handler sleeps, but for the watchdog."""
    vm.plug()
    instance, = await_readers(vm, 1)
    vm.start(f'{tool("watch.py", "card", "")} > /tmp/card.log')
    vm.wait_for('grep -q wait /tmp/card.log')
    opensc_atr(vm)
    time.sleep(8)  # the unused card is powered down after 5 s
    pid = main_pid(vm, instance)
    switches = f'awk "/ctxt_switches/ {{ n += \\$2 }} END {{ print n }}" /proc/{pid}/task/*/status'
    before = int(vm.run(switches))
    seconds = 20
    time.sleep(seconds)
    wakeups = int(vm.run(switches)) - before
    watchdog = float(vm.run(f'systemctl show --value -p WatchdogUSec {service(instance)} | '
                            'sed "s/min/*60/; s/s$//; s/infinity/0/" | python3 -c "print(eval(input()))"'))
    notices = int(seconds / (watchdog / 2)) + 1 if watchdog else 0  # sd-event sends one after half of it
    figure(f'wake-ups of the handler at rest in {seconds} s: {wakeups}, of the watchdog at most {notices}')
    assert wakeups <= 2 * notices, f'{wakeups} wake-ups in {seconds} s, watchdog {watchdog} s'
    assert vm.run(f'ls /proc/{pid}/task | wc -l') == '1', 'one thread'


def test_memory(vm):
    vm.plug()
    instance, = await_readers(vm, 1)
    vm.start(f'{tool("watch.py", "card", "")} > /tmp/card.log')
    vm.wait_for('grep -q wait /tmp/card.log')
    opensc_atr(vm)
    pid = main_pid(vm, instance)
    dirty = int(vm.run(f'sed -n "s/^Private_Dirty: *\\([0-9]*\\) kB/\\1/p" /proc/{pid}/smaps_rollup'))
    figure(f'private dirty memory of the handler: {dirty} KiB')
    assert dirty < 700, f'{dirty} KiB'

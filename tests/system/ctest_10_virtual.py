# SPDX-License-Identifier: MIT
"""Units, activation and restarts at native speed, with readers that need no hardware."""
import json
import time

from steps import OK, await_nothing_left, lines_of_ours, list_readers, pcsc, tool

UNIT = 'ifdhandler-virtual@demo'


def start(container, drop_in=''):
    """Starts the virtual reader; the limit for starts is off, since the tests start far oftener than idle exits do."""
    container.run(f'mkdir -p /run/systemd/system/{UNIT}.service.d')
    container.put(f'/run/systemd/system/{UNIT}.service.d/test.conf',
                  f'[Unit]\nStartLimitIntervalSec=0\n{drop_in}'.encode())
    container.run(f'systemctl daemon-reload; systemctl reset-failed; systemctl start {UNIT}.socket')


def rounds(container, form, count):
    """Runs restarts.py; all rounds must have succeeded without a retry."""
    result = json.loads(container.run(tool('restarts.py', form, UNIT, count), 110))
    assert result['codes'] == {f'{OK} {OK} {OK}': count}, result
    assert result['longest'] < 2, result
    return result


def test_listed_and_started_by_the_client(container):
    assert list_readers(container) == []
    start(container)
    name, = list_readers(container)
    assert container.try_run(f'systemctl is-active {UNIT}.service')[1].strip() == 'inactive', 'listing starts nothing'
    assert pcsc(container, 'connect', name)[0]['code'] == OK
    assert container.run(f'systemctl is-active {UNIT}.service') == 'active'
    container.run('opensc-tool -a; pkcs15-tool -D')
    container.run(f'systemctl stop {UNIT}.service')
    assert container.try_run(f'systemctl is-active {UNIT}.service')[1].strip() == 'inactive'
    assert list_readers(container) == [name]
    container.run(f'systemctl stop {UNIT}.service {UNIT}.socket')
    await_nothing_left(container)


def test_first_instant(container):
    """200 starts of the socket, each with a client that comes as soon as the reader is listed."""
    start(container)
    rounds(container, 'start', 200)


def test_right_after_a_crash(container):
    start(container)
    rounds(container, 'kill', 50)


def test_while_it_ends(container):
    start(container)
    rounds(container, 'stop', 100)


def test_while_it_ends_for_idleness(container):
    start(container, '[Service]\nExecStart=\nExecStart=/usr/sbin/ifdhandler --driver virtual --card builtin --idle 1 '
          'demo\n')
    rounds(container, 'idle', 20)


def test_crash_loop_is_given_up(container):
    """A handler that always crashes is given up after its limit; its reader's clients get an error, soon."""
    container.run(f'mkdir -p /run/systemd/system/{UNIT}.service.d')
    container.put(f'/run/systemd/system/{UNIT}.service.d/test.conf',
                  b'[Service]\nType=exec\nExecStart=\nExecStart=/bin/sh -c "kill -9 $$$$"\n')
    container.run(f'systemctl daemon-reload; systemctl start {UNIT}.socket')
    cursor = container.cursor()
    answer = pcsc(container, 'connect')[0]
    assert answer['code'] != OK and answer['seconds'] < 12, answer
    container.wait_for(f'! systemctl -q is-active {UNIT}.socket', 30)
    assert list_readers(container) == []
    gone = [line for line in lines_of_ours(container, cursor) if 'is gone' in line[2]]
    assert len(gone) == 1, gone
    time.sleep(1)
    assert lines_of_ours(container, container.cursor()) == [], 'it has ended'
    start(container)
    assert pcsc(container, 'connect')[0]['code'] == OK


def test_access(container):
    start(container)
    name, = list_readers(container, 'plain')
    assert pcsc(container, 'connect', name, user='plain')[0]['code'] == 'SCARD_W_SECURITY_VIOLATION'
    assert pcsc(container, 'connect', name, user='member')[0]['code'] == OK

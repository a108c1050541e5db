# SPDX-License-Identifier: MIT
"""Who may use a reader: root, members of the group, whoever sits at the machine; nobody may go round the handler."""
from steps import OK, as_user, await_readers, lines, list_readers, node_of, pcsc, seat_session, tool

REFUSED = 'SCARD_W_SECURITY_VIOLATION'


def open_node(vm, user, node):
    """What open(NODE, O_RDWR) says to that user."""
    program = f'import os\ntry:\n os.open("{node}", os.O_RDWR); print("open")\nexcept OSError as e: print(e.strerror)'
    return vm.run(as_user(user, f"python3 -c '{program}'"))


def test_ordinary_users(vm):
    vm.plug()
    instance, = await_readers(vm, 1)
    node = node_of(instance)
    assert vm.run(f'stat -c "%U %G %a" {node}') == 'root ifdhandler 660'
    assert 'user:' not in vm.run(f'getfacl -cp {node}').replace('user::', ''), 'no ACL on the node'
    assert vm.run('getent group ifdhandler | cut -d: -f4') == '', 'no human member'
    name, = list_readers(vm)
    for user in ('plain', 'member', 'seated'):
        assert list_readers(vm, user) == [name]
        assert open_node(vm, user, node) == 'Permission denied', user
    assert pcsc(vm, 'connect', user='plain')[0]['code'] == REFUSED
    assert pcsc(vm, 'connect', user='seated')[0]['code'] == REFUSED, 'nobody sits there yet'
    assert pcsc(vm, 'connect', user='member')[0]['code'] == OK
    assert pcsc(vm, 'connect')[0]['code'] == OK

    seat_session(vm, 'seated')
    assert pcsc(vm, 'connect', user='seated')[0]['code'] == OK
    assert vm.try_run(as_user('seated', 'opensc-tool -a'))[0] == 0
    assert vm.try_run(as_user('plain', 'opensc-tool -a'))[0] != 0
    assert pcsc(vm, 'connect', user='plain')[0]['code'] == REFUSED
    assert open_node(vm, 'seated', node) == 'Permission denied', 'a seat is no key to the node'
    vm.run('systemctl stop seat-session.service')
    vm.wait_for('test -z "$(loginctl show-seat seat0 --value -p ActiveSession)"', 30)
    assert pcsc(vm, 'connect', user='seated')[0]['code'] == REFUSED, 'the session has ended'


def test_refusal_says_what_would_help(vm):
    vm.plug()
    instance, = await_readers(vm, 1)
    cursor = vm.cursor()
    answer = lines(vm.run(as_user('plain', tool('wire.py', f'/run/ifdhandler/{instance}.sock', 'hello'))))[0]
    last = answer['frames'][-1]
    assert answer['closed'] and last['type'] == 0x84 and last['status'] == 48, answer
    assert 'smartcard' in last['text'], last['text']
    assert 'refused' in vm.journal(since=cursor)


def test_gone_member(vm):
    """Access is looked at when a connection begins."""
    vm.plug()
    await_readers(vm, 1)
    assert pcsc(vm, 'connect', user='member')[0]['code'] == OK
    vm.run('gpasswd -d member smartcard')
    assert pcsc(vm, 'connect', user='member')[0]['code'] == REFUSED

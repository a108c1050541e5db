# SPDX-License-Identifier: MIT
"""The bed itself, without our build: the distribution's own stack uses QEMU's reader and the emulated card.

When these fail, the tests of our stack mean nothing; when only those fail, it is ours.
"""
import os
import tempfile

from machine import CommandError, openssl_verifies
from vm import PIN

INSTALLED = False
ATR = '3b:7a:18:00:00:73:66:74:65:20:63:64:31:34:34'


def test_commands(vm):
    assert vm.try_run('echo out; echo err >&2; exit 7') == (7, 'out\nerr\n')
    assert vm.run('sleep 60 & echo started') == 'started', 'a background process must not hold up its command'
    try:
        vm.run('echo begun; sleep 60', timeout=1)
        raise AssertionError('a command without end must end')
    except CommandError as error:
        assert 'timeout' in str(error) and 'begun' in str(error)
    job = vm.start('echo one; sleep 100')
    assert vm.run('echo two') == 'two', 'two commands at a time'
    assert 'one' in job.kill()
    vm.put('/tmp/file', bytes(range(256)) * 1000)
    assert vm.get('/tmp/file') == bytes(range(256)) * 1000


def test_card_with_distribution(vm):
    vm.plug()
    vm.wait_for('pcsc_scan -r | grep -q 00.00')
    assert ATR in vm.run('opensc-tool -a')
    vm.run(f'printf hello > m && pkcs11-tool --login --pin {PIN} --sign -m SHA256-RSA-PKCS -i m -o s --id 0001')
    with tempfile.TemporaryDirectory() as here:
        for name, content in (('m', b'hello'), ('s', vm.get('/root/s'))):
            with open(os.path.join(here, name), 'wb') as file:
                file.write(content)
        assert openssl_verifies(f'{vm.store.card}/id.pub', f'{here}/m', f'{here}/s')
        with open(f'{here}/m', 'ab') as file:
            file.write(b'!')
        assert not openssl_verifies(f'{vm.store.card}/id.pub', f'{here}/m', f'{here}/s')
    vm.unplug()
    vm.wait_for('! lsusb | grep -q 08e6')


def test_two_readers(vm):
    vm.plug('ccid0', port='1')
    vm.plug('ccid1', port='2', card=False)
    vm.wait_for('test $(lsusb | grep -c 08e6) = 2')
    vm.unplug('ccid1')
    vm.unplug('ccid0')

# SPDX-License-Identifier: MIT
"""What the tests of our stack do again and again. `machine` is a VM or a container with our build installed."""
import json
import os
import tempfile

from machine import openssl_verifies, quote
from vm import PIN

TOOLS = '/usr/local/lib/ifdhandler-tests'
RUN = '/run/ifdhandler'
ATR = '3b:7a:18:00:00:73:66:74:65:20:63:64:31:34:34'  # of QEMU's emulated PKI card
OK = 'SCARD_S_SUCCESS'
# In emulation on a busy machine everything takes longer: what is promised within 1 s must come within this.
ONE_SECOND = 3
OURS = ('ifdhandler', 'reader-ctl')  # how our units and identifiers begin


def as_user(user, command):
    """The command as that user, with the user's groups and without a login session of its own."""
    return f'setpriv --reuid={user} --regid={user} --init-groups --reset-env bash -c {quote(command)}'


def tool(name, *arguments):
    """Command line of a program of in-vm/."""
    return ' '.join([f'{TOOLS}/{name}', *(quote(str(word)) for word in arguments)])


def lines(text):
    """The JSON objects of an output, one a line."""
    return [json.loads(line) for line in text.splitlines() if line.startswith('{')]


def pcsc(machine, *arguments, user=None, environment='', timeout=60):
    """Runs winscard.py; returns its lines."""
    command = f'{environment} {tool("winscard.py", *arguments)}'
    return lines(machine.run(as_user(user, command) if user else command, timeout))


def list_readers(machine, user=None):
    answer = pcsc(machine, 'list', user=user)[0]
    assert answer['code'] in (OK, 'SCARD_E_NO_READERS_AVAILABLE'), answer
    return answer['readers']


def description(machine, instance):
    """{key: value}; a later reader= line does not replace the first."""
    fields = {}
    for line in machine.run(f'cat {RUN}/{instance}.reader').splitlines():
        key, _, value = line.partition('=')
        fields.setdefault(key, value)
    return fields


def instances(machine):
    """Instances that are registered, in the order of their names."""
    return machine.run(f'cd {RUN} && ls *.reader 2>/dev/null | sed "s/.reader$//"; true').split()


def await_readers(machine, count, timeout=15):
    """Waits until so many readers are registered; returns their instances."""
    machine.wait_for(f'test $(ls {RUN}/*.reader 2>/dev/null | wc -l) = {count}', timeout)
    return instances(machine)


def reader_name(machine, instance):
    """The name that applications know, of the first slot."""
    return description(machine, instance)['reader'].partition(' ')[2]


def node_of(instance):
    return '/dev/bus/usb/' + instance.replace('-', '/')


def service(instance):
    return f'ifdhandler@{instance}.service'


def main_pid(machine, instance):
    """Process of the reader's handler; 0 while it does not run."""
    return int(machine.run(f'systemctl show --value -p MainPID {service(instance)}') or 0)


def is_active(machine, instance):
    """inactive, active, failed ..."""
    return machine.try_run(f'systemctl is-active {service(instance)}')[1].strip()


def opensc_atr(machine, timeout=30):
    """opensc-tool -a at the first try."""
    status, output = machine.try_run('opensc-tool -a', timeout)
    assert status == 0 and ATR in output, f'opensc-tool -a: status {status}\n{output}'


def sign_and_verify(vm, environment=''):
    """PKCS#11: tokens, objects, login, signature; the signature is verified here, with the card's public key."""
    tokens = vm.run(f'{environment} pkcs11-tool -L')
    assert 'Test id-cert' in tokens, tokens
    objects = vm.run(f'{environment} pkcs11-tool -O')
    assert objects.count('Certificate Object') == 3, objects
    vm.run(f'rm -f s; printf hello > m; {environment} pkcs11-tool --login --pin {PIN} --sign -m SHA256-RSA-PKCS '
           '-i m -o s --id 0001')
    with tempfile.TemporaryDirectory() as here:
        for name, content in (('m', b'hello'), ('s', vm.get('/root/s'))):
            with open(os.path.join(here, name), 'wb') as file:
                file.write(content)
        assert openssl_verifies(f'{vm.store.card}/id.pub', f'{here}/m', f'{here}/s'), 'the signature is wrong'


def lines_of_ours(machine, since=None):
    """Lines of the journal that carry our units or identifiers, as (time, who, message)."""
    machine.run('journalctl --sync')
    after = f'--after-cursor={quote(since)}' if since else ''
    found = []
    for entry in lines(machine.run(f'journalctl -q -b -o json --no-pager {after}')):
        who = [entry.get(field) for field in ('UNIT', '_SYSTEMD_UNIT', 'SYSLOG_IDENTIFIER')]
        if any(isinstance(name, str) and name.startswith(OURS) for name in who):
            found.append((int(entry['__MONOTONIC_TIMESTAMP']) / 1e6, who, entry.get('MESSAGE')))
    return found


LEFT_OVER = {
    'units': 'systemctl list-units --all --no-legend --plain "ifdhandler@*" "ifdhandler-*@*"',
    'failed units': 'systemctl --failed --no-legend --plain',
    'jobs': 'systemctl list-jobs --no-legend --plain',
    'processes': 'pgrep -ax ifdhandler',
    'files': f'find {RUN} -name "*.reader" -o -name "*.sock" -o -type s -o -type l -o -path "*/detached/*"',
    'nodes': 'find /dev/bus/usb -group ifdhandler 2>/dev/null',
}


def left_over(machine):
    """What of a reader is still there, as text; empty when nothing is."""
    script = '\n'.join(f'out=$({command}); [ -z "$out" ] || echo "{what}: $out"' for what, command in LEFT_OVER.items())
    return machine.run(script + '\ntrue')


def await_gone(machine, timeout=20):
    """Waits until no reader is registered and none of our units is left."""
    machine.wait_for(f'! compgen -G "{RUN}/*.[rs]*" && test -z "$({LEFT_OVER["units"]})"', timeout)


def await_nothing_left(machine):
    """After the last reader has gone: everything of it goes, soon."""
    await_gone(machine)
    found = left_over(machine)
    assert not found, f'left over: {found}'


def await_line(machine, path, text, count=1, timeout=20):
    """Waits until a program has written so many lines with that text into a file."""
    machine.wait_for(f'test "$(grep -c {quote(text)} {path})" -ge {count}', timeout)


def seat_session(machine, user):
    """Gives a user the active session at seat0, as a login at the first console does."""
    machine.run(f'systemd-run -q -p User={user} -p PAMName=login -p TTYPath=/dev/tty1 -p StandardInput=tty-force '
                '--unit=seat-session sleep 3600')
    machine.wait_for(f'test "$(loginctl show-seat seat0 --value -p ActiveSession)" && loginctl show-session --value '
                     f'-p Name $(loginctl show-seat seat0 --value -p ActiveSession) | grep -qx {user}', 60)


# What systemd does for the sandbox of a unit.
PLAIN = '''[{section}]
CapabilityBoundingSet=~
NoNewPrivileges=no
PrivateNetwork=no
PrivateTmp=no
ProtectHome=no
ProtectSystem=no
ProtectKernelTunables=no
ProtectKernelModules=no
ProtectControlGroups=no
RestrictAddressFamilies=
RestrictNamespaces=no
RestrictSUIDSGID=no
MemoryDenyWriteExecute=no
LockPersonality=no
SystemCallArchitectures=
SystemCallFilter=
'''
PLAIN_SERVICE = '''PrivateMounts=no
ProtectKernelLogs=no
ProtectClock=no
ProtectHostname=no
RestrictRealtime=no
IPAddressDeny=
DynamicUser=no
User=root
'''


def plain_units(machine):
    """Units without a sandbox, for tests with dozens of readers: in emulation it is most of what a start costs."""
    for kind, more in (('socket', ''), ('service', PLAIN_SERVICE)):
        directory = f'/run/systemd/system/ifdhandler@.{kind}.d'
        machine.run(f'mkdir -p {directory}')
        machine.put(f'{directory}/plain.conf', (PLAIN.format(section=kind.capitalize()) + more).encode())
    machine.run('systemctl daemon-reload')


class Emulated:
    """Our own model of readers behind the kernel's vhci_hcd; commands are those of tests/model/README."""

    def __init__(self, machine, *arguments):
        """arguments: those of usbip-reader; a model is named without directory and suffix."""
        self.machine = machine
        words, after_m = [], False
        for word in arguments:
            words.append(f'{TOOLS}/models/{word}.model' if after_m else word)
            after_m = word == '-m'
        self.job = machine.start(tool('usbip-reader', '-s', '/run/model.sock', *words))
        machine.wait_for('test -S /run/model.sock')

    def command(self, *words):
        """One command; returns its answer."""
        return self.machine.run(tool('model-ctl', '-s', '/run/model.sock', *words))

    def counters(self, reader):
        """{name: number}"""
        pairs = [line.split('=') for line in self.command('count', reader).splitlines() if '=' in line]
        return {key: int(value) for key, value in pairs}


def figure(text):
    """A measured value for the log of the run."""
    print(f'    {text}', flush=True)

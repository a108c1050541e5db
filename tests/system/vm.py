# SPDX-License-Identifier: MIT
"""A Debian VM under QEMU without hardware virtualization: booted once, frozen, thawed for each test.

Two frozen states are kept below BUILD/vm, each with a key by content. "cold": the image after boot. "golden": cold with
our build installed from /dev/vdb by in-vm/setup.sh. Both are RAM and a qcow2 overlay; no test writes to either. A test
gets a VM object: run() and start() for commands, plug() and friends for USB. QEMU never outlives its test.
"""
import base64
import contextlib
import ctypes
import glob
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time

from machine import CommandError, Machine, MachineError, eventually

HERE = os.path.dirname(os.path.abspath(__file__))
MEMORY_MIB = 768  # chosen: systemd, pcscd and Python need 200; it bounds the frozen RAM file
PAYLOAD_BYTES = 64 << 20  # the disk's size is part of the frozen state, so it is the same for every payload
BOOT_SECONDS = 240  # 20 on an idle machine
THAW_SECONDS = 60  # below 2 on an idle machine
PIN = '77777777'
# What every test starts from: all services are up and at rest, the modules that the tests need are loaded.
AFTER_BOOT = '''systemctl is-system-running --wait || { systemctl --failed; exit 1; }
systemctl stop pcscd.service
modprobe -a vhci_hcd usbmon && udevadm settle'''


def die_with_parent():
    """QEMU gets SIGKILL when the test run ends, however it ends."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def qemu_arguments(store, run, frozen, disk):
    """QEMU's command line. What is thawed must be what was frozen, so all of it but the paths is part of the key."""
    kernel = ''.join(glob.glob(f'{store}/root/boot/vmlinuz-*')[:1])
    initrd = ''.join(glob.glob(f'{store}/root/boot/initrd.img-*')[:1])
    root = f'file={disk},format=qcow2' if disk else f'file={frozen}/disk.qcow2,format=qcow2,snapshot=on'
    arguments = [
        'qemu-system-x86_64', '-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', '2', '-m', str(MEMORY_MIB),
        '-display', 'none', '-no-reboot', '-nodefaults', '-name', 'vm,debug-threads=on',
        '-kernel', kernel, '-initrd', initrd,
        # a kernel in trouble ends QEMU at once, instead of one timeout for each command
        '-append', 'root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 oops=panic panic=-1',
        '-drive', root + ',if=none,id=root', '-device', 'virtio-blk-pci,drive=root,addr=4',
        '-drive', f'file={run}/vdb,format=raw,if=none,id=payload,read-only=on',
        '-device', 'virtio-blk-pci,drive=payload,addr=5',
        '-device', 'qemu-xhci,id=xhci,p2=4,p3=4,addr=6',
        '-device', 'piix3-usb-uhci,id=uhci,addr=7',
        '-device', 'virtio-serial-pci,addr=8',
        '-chardev', f'socket,id=agent,path={run}/agent,server=on,wait=off',
        '-device', 'virtserialport,chardev=agent,name=agent',
        '-chardev', f'file,id=console,path={run}/console.log', '-serial', 'chardev:console',
        '-qmp', f'unix:{run}/qmp,server=on,wait=off']
    if frozen:
        arguments += ['-incoming', f'exec:cat {frozen}/ram']
    return arguments


class Channel:
    """Lines of JSON over one of QEMU's unix sockets."""

    def __init__(self, path, alive):
        self.alive = alive
        self.rest = b''
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        end = time.monotonic() + 20
        while True:
            try:
                self.socket.connect(path)
                return
            except OSError:
                self.alive()
                if time.monotonic() > end:
                    raise MachineError(f'QEMU did not open {path}') from None
                time.sleep(0.02)

    def send(self, message):
        try:
            self.socket.sendall(json.dumps(message).encode() + b'\n')
        except OSError:
            self.alive()
            raise

    def receive(self, deadline):
        """The next message, or None when the deadline (time.monotonic) has passed."""
        while b'\n' not in self.rest:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(1 << 20)
            except socket.timeout:
                return None
            except ConnectionError:
                data = b''
            if not data:
                time.sleep(0.2)  # let QEMU end, so that alive() can tell why
                self.alive()
                raise MachineError('QEMU closed a socket')
            self.rest += data
        line, self.rest = self.rest.split(b'\n', 1)
        return json.loads(line)


class Job:
    """A command under way in the VM."""

    def __init__(self, vm, number, command, timeout):
        self.vm, self.number, self.command = vm, number, command
        self.deadline = time.monotonic() + timeout + 20  # the agent's own timeout comes first

    def wait(self):
        """Returns (exit status, output). Status is negative for a signal."""
        answer = self.vm.answer_to(self.number, self.deadline)
        if answer is None:
            raise MachineError(f'no answer to: {self.command}\n{self.vm.console_tail()}')
        if answer['status'] == 'timeout':
            raise CommandError(f'timeout: {self.command}\n{answer["output"]}')
        if answer['status'] == 'error':
            raise MachineError(f'{answer["output"]} from: {self.command}')
        return answer['status'], answer['output']

    def kill(self):
        """Ends the command and everything in its process group; returns its output."""
        self.vm.answer_to(self.vm.request(kill=self.number), time.monotonic() + 20)
        return self.wait()[1]


class VM(Machine):
    def __init__(self, store, frozen=None, disk=None, payload=None):
        """frozen: the state to thaw. disk: a qcow2 to write to (a boot or an installation that will be frozen); without
        it changes go nowhere. payload: a tar for /dev/vdb."""
        self.store = store
        self.directory = tempfile.mkdtemp(prefix='run-', dir=store.directory)
        self.answers = {}
        self.count = 0
        self.process = None
        try:
            self.launch(frozen, disk, payload)
        except BaseException:
            self.close()
            raise

    def launch(self, frozen, disk, payload):
        vdb = f'{self.directory}/vdb'
        if payload:
            shutil.copyfile(payload, vdb)
        with open(vdb, 'ab') as file:
            if file.tell() > PAYLOAD_BYTES:
                raise MachineError(f'payload of {file.tell()} bytes: more than {PAYLOAD_BYTES}')
            file.truncate(PAYLOAD_BYTES)
        with open(f'{self.directory}/qemu.log', 'wb') as log:
            self.process = subprocess.Popen(
                qemu_arguments(self.store.directory, self.directory, frozen, disk), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, cwd=self.store.directory, preexec_fn=die_with_parent)
        self.monitor = Channel(f'{self.directory}/qmp', self.check_alive)
        self.agent = Channel(f'{self.directory}/agent', self.check_alive)
        self.monitor.receive(time.monotonic() + 20)  # greeting
        self.qmp('qmp_capabilities')
        if frozen:
            self.await_status('inmigrate', 'finish-migrate', gone=True)
            self.qmp('cont')
            self.run(f'date -s @{time.time():.3f} >/dev/null', THAW_SECONDS)
        else:
            self.run('true', BOOT_SECONDS)

    # the machine itself

    def console_tail(self):
        try:
            with open(f'{self.directory}/console.log', errors='replace') as file:
                tail = file.read()[-3000:].strip()
            return f'-- console of the VM --\n{tail}' if tail else '-- nothing on the console of the VM --'
        except OSError:
            return ''

    def check_alive(self):
        """Raises a MachineError with what is known, when QEMU has ended."""
        status = self.process.poll()
        if status is None:
            return
        with open(f'{self.directory}/qemu.log', errors='replace') as file:
            said = file.read()[-2000:].strip()
        console = self.console_tail()
        what = 'the kernel of the VM panicked' if 'Kernel panic' in console else f'QEMU ended with status {status}'
        raise MachineError(f'{what}\n{said}\n{console}')

    def qmp(self, command, **arguments):
        """One command to QEMU; returns its result. Underscores in names of arguments stand for '-'."""
        arguments = {name.replace('_', '-'): value for name, value in arguments.items()}
        self.monitor.send({'execute': command, 'arguments': arguments})
        while True:
            answer = self.monitor.receive(time.monotonic() + 30)
            if answer is None:
                raise MachineError(f'QEMU does not answer to {command}')
            if 'error' in answer:
                raise MachineError(f'{command}: {answer["error"]["desc"]}')
            if 'return' in answer:
                return answer['return']

    def await_status(self, *states, gone=False):
        end = time.monotonic() + THAW_SECONDS
        while (self.qmp('query-status')['status'] in states) == gone:
            if time.monotonic() > end:
                raise MachineError('the VM does not thaw')
            time.sleep(0.02)

    def freeze(self, directory):
        """Writes the RAM to DIRECTORY/ram and ends the VM."""
        self.run('sync')
        self.qmp('stop')
        self.qmp('migrate', uri=f'exec:cat > {directory}/ram')
        end = time.monotonic() + 120
        while (status := self.qmp('query-migrate').get('status')) != 'completed':
            if status == 'failed' or time.monotonic() > end:
                raise MachineError(f'freezing the VM: {status}')
            time.sleep(0.05)
        self.close()

    def close(self):
        if self.process:
            self.process.kill()  # nothing of its state is wanted any more
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # commands

    def request(self, **fields):
        self.count += 1
        self.agent.send({'id': self.count, **fields})
        return self.count

    def answer_to(self, number, deadline):
        while number not in self.answers:
            answer = self.agent.receive(deadline)
            if answer is None:
                self.check_alive()
                return None
            self.answers[answer['id']] = answer
        return self.answers.pop(number)

    def start(self, command, timeout=600):
        """Starts a bash command as root and returns at once, with a Job."""
        return Job(self, self.request(run=command, timeout=timeout), command, timeout)

    def try_run(self, command, timeout=60):
        return self.start(command, timeout).wait()

    def put(self, path, content, mode=0o644):
        """Writes a file in the VM."""
        number = self.request(write=path, data=base64.b64encode(content).decode(), mode=mode)
        answer = self.answer_to(number, time.monotonic() + 60)
        if answer is None or answer['status'] != 0:
            raise MachineError(f'cannot write {path}: {answer}')

    def get(self, path):
        """The content of a file in the VM."""
        return base64.b64decode(self.run(f'base64 -w0 {path}'))

    def install(self):
        """Installs the payload and waits until systemd and udev have taken it in."""
        self.run('mkdir -p /run/payload && dd if=/dev/vdb iflag=direct bs=1M status=none | tar x -C /run/payload', 60)
        return self.run('bash /run/payload/setup.sh', 120)

    # USB

    def plug(self, name='ccid0', bus='uhci.0', port='1', card=True):
        """Plugs QEMU's CCID reader. It belongs on UHCI: on xHCI QEMU sends a stray empty packet after an answer whose
        length is a multiple of 64. The emulated PKI card can be in one reader at a time."""
        self.qmp('device_add', driver='usb-ccid', id=name, bus=bus, port=port)
        if card:
            self.insert_card(name)

    def unplug(self, name='ccid0'):
        self.qmp('device_del', id=name)

    def insert_card(self, name='ccid0'):
        self.qmp('device_add', driver='ccid-card-emulated', id=f'{name}-card', bus=f'{name}.0', backend='certificates',
                 db=f'sql:{self.store.card}/db', cert1='id-cert', cert2='signing-cert', cert3='encryption-cert')
        self.hurry_card()

    def hurry_card(self):
        """QEMU's thread for the card looks for the next command only when it is woken, and misses a wake-up that comes
        between its answer and its going to sleep: then that command is never answered. On a busy machine this happens
        within minutes. With a real-time priority the thread is asleep before anybody can have read the answer."""
        if not eventually(self.hurried):  # a new thread names itself
            raise MachineError('QEMU has no thread for the card')

    def hurried(self):
        found = []
        for task in glob.glob(f'/proc/{self.process.pid}/task/*'):
            with contextlib.suppress(OSError), open(f'{task}/comm', encoding='ascii') as file:
                if file.read().startswith('ccid/apdu'):
                    os.sched_setscheduler(int(os.path.basename(task)), os.SCHED_FIFO, os.sched_param(1))
                    found.append(task)
        return found

    def remove_card(self, name='ccid0'):
        self.qmp('device_del', id=f'{name}-card')


class Store:
    """BUILD/vm: the image, the frozen states, the card."""

    def __init__(self, build, tell=print):
        self.directory = os.path.abspath(f'{build}/vm')
        self.card = f'{self.directory}/card'
        self.tell = tell

    def prepare(self):
        """Makes image and card where they are missing; takes away what a killed run has left."""
        os.makedirs(self.directory, exist_ok=True)
        for old in glob.glob(f'{self.directory}/run-*'):
            shutil.rmtree(old, ignore_errors=True)
        subprocess.run([f'{HERE}/mkimage.sh', self.directory], check=True)
        if not os.path.exists(f'{self.card}/id.pub'):
            subprocess.run([f'{HERE}/mkcard.sh', self.card, PIN], check=True)

    def cold(self):
        """The frozen state of the image after boot."""
        qemu = subprocess.run(['qemu-system-x86_64', '--version'], capture_output=True, check=True).stdout
        with open(f'{self.directory}/stamp', 'rb') as stamp:
            key = digest(qemu, stamp.read(), repr((qemu_arguments('', '', '', ''), AFTER_BOOT)).encode())
        return self.frozen('cold', key, f'{self.directory}/rootfs.img', 'raw', self.boot)

    def boot(self, directory):
        with VM(self, disk=f'{directory}/disk.qcow2') as vm:
            vm.run(AFTER_BOOT, BOOT_SECONDS)
            vm.freeze(directory)

    def golden(self, payload):
        """The cold state with the payload (a tar) installed."""
        cold = self.cold()
        with open(payload, 'rb') as file, open(f'{cold}/key', 'rb') as key:
            key = digest(key.read(), file.read())
        return self.frozen('golden', key, f'{cold}/disk.qcow2', 'qcow2', lambda to: self.install(to, cold, payload))

    def install(self, directory, cold, payload):
        with VM(self, frozen=cold, disk=f'{directory}/disk.qcow2', payload=payload) as vm:
            vm.install()
            vm.freeze(directory)

    def frozen(self, name, key, backing, backing_format, make):
        directory = f'{self.directory}/{name}'
        try:
            with open(f'{directory}/key', encoding='ascii') as file:
                if file.read() == key:
                    return directory
        except OSError:
            pass
        begin = time.monotonic()
        shutil.rmtree(directory, ignore_errors=True)
        os.mkdir(directory)
        subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', '-b', os.path.relpath(backing, directory), '-F',
                        backing_format, f'{directory}/disk.qcow2'], check=True)
        make(directory)
        with open(f'{directory}/key', 'w', encoding='ascii') as file:
            file.write(key)
        self.tell(f'system: {name} VM frozen after {time.monotonic() - begin:.1f} s, '
                  f'{os.path.getsize(directory + "/ram") >> 20} MiB')
        return directory

    def make_payload(self, tree, helpers=()):
        """Packs the tree of `make install DESTDIR=tree`, in-vm/, the models of readers and the helpers (programs) into
        a tar that depends on their content only; returns its path."""
        path = f'{self.directory}/payload.tar'
        with tarfile.open(path, 'w') as tar:
            for source, name in payload_parts(tree, helpers):
                add_sorted(tar, source, name)
        return path


def payload_parts(tree, helpers):
    """[(path here, name in the payload)]"""
    parts = [(f'{HERE}/in-vm', '.'), (f'{HERE}/../model/models', 'models')]
    parts += [(helper, os.path.basename(helper)) for helper in sorted(helpers)]
    return parts + ([(tree, 'tree')] if tree else [])


def add_sorted(tar, path, name):
    def plain(info):
        info.uid = info.gid = info.mtime = 0
        info.uname = info.gname = 'root'
        info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
        return None if '__pycache__' in info.name else info
    tar.add(path, name, filter=plain)  # in the order of names, since Python 3.7


def digest(*parts):
    return hashlib.sha256(b''.join(hashlib.sha256(part).digest() for part in parts)).hexdigest()

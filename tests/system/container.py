# SPDX-License-Identifier: MIT
"""systemd, udevd and our build in a container on this machine: native speed, but no USB.

The root is an overlay: the image's tree below, our build between, what the test writes on top. systemd-nspawn boots it;
the host needs no systemd of its own, only root and a root directory that is a mount point.
"""
import contextlib
import glob
import os
import shutil
import signal
import subprocess
import tempfile
import time

from machine import CommandError, Machine, MachineError
from vm import die_with_parent, payload_parts

START_SECONDS = 60  # half a second on an idle machine


class Container(Machine):
    def __init__(self, lower, directory):
        self.directory = tempfile.mkdtemp(prefix='ns-', dir=directory)
        self.process = None
        self.leader = None
        try:
            self.boot(lower)
        except BaseException:
            self.close()
            raise

    def boot(self, lower):
        self.root = f'{self.directory}/root'
        for name in ('upper', 'work', 'root', 'udev'):
            os.mkdir(f'{self.directory}/{name}')
        # PID 1 joins udev's netlink group only if this file is there when it starts; udevd replaces it
        open(f'{self.directory}/udev/control', 'w', encoding='ascii').close()
        subprocess.run(['mount', '-t', 'overlay', 'overlay', '-o',
                        f'lowerdir={lower},upperdir={self.directory}/upper,workdir={self.directory}/work', self.root],
                       check=True)
        with open(f'{self.directory}/log', 'wb') as log:
            self.process = subprocess.Popen(
                ['systemd-nspawn', '-q', '--boot', '--register=no', '--keep-unit', '--private-network',
                 '--console=pipe', f'--machine=ifd{os.getpid()}', f'--bind={self.directory}/udev:/run/udev', '-D',
                 self.root],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent,
                env={**os.environ, 'SYSTEMD_NSPAWN_API_VFS_WRITABLE': 'yes'})
        end = time.monotonic() + START_SECONDS
        while not self.is_up():
            if self.process.poll() is not None or time.monotonic() > end:
                with open(f'{self.directory}/log', errors='replace') as log:
                    raise MachineError('the container did not come up\n' + log.read()[-3000:])
            time.sleep(0.02)

    def is_up(self):
        if not self.leader:
            # nspawn's child waits in the outer namespaces, its child is PID 1 of the container
            for child in children(self.process.pid):
                for candidate in [child, *children(child)]:
                    if name_of(candidate) == 'systemd':
                        self.leader = candidate
            if not self.leader:
                return False
        try:
            return self.try_run('systemctl is-system-running', 10)[1].strip() in ('running', 'degraded')
        except CommandError:
            return False

    def enter(self, command):
        return ['nsenter', '-t', str(self.leader), '-a', '--', 'bash', '-c', command]

    def try_run(self, command, timeout=60):
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(self.enter(command), stdin=subprocess.DEVNULL, stdout=output,
                                       stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=die_with_parent)
            try:
                status = process.wait(timeout)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            output.seek(0)
            text = output.read().decode(errors='replace')
        if status is None:
            raise CommandError(f'timeout: {command}\n{text}')
        return status, text

    def put(self, path, content, mode=0o644):
        """Writes a file in the container."""
        process = subprocess.run(self.enter(f'cat > {path} && chmod {mode:o} {path}'), input=content, timeout=20,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if process.returncode != 0:
            raise MachineError(f'cannot write {path}: {process.stdout}')

    def close(self):
        if self.process:
            if self.leader and self.process.poll() is None:
                SIGRTMIN_13 = signal.SIGRTMIN + 13  # systemd(1): immediate halt
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.leader, SIGRTMIN_13)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        subprocess.run(['umount', self.root], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def children(pid):
    """None where the process has gone since."""
    try:
        with open(f'/proc/{pid}/task/{pid}/children', encoding='ascii') as file:
            return [int(word) for word in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def name_of(pid):
    try:
        with open(f'/proc/{pid}/comm', encoding='ascii') as file:
            return file.read().strip()
    except OSError:
        return ''


def opener(store, tree, helpers):
    """Returns a function that boots a fresh container. With a tree our build is a layer of its root."""
    work = f'{store.directory}/container'
    for old in glob.glob(f'{work}/ns-*'):
        subprocess.run(['umount', f'{old}/root'], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(old, ignore_errors=True)
    os.makedirs(work, exist_ok=True)

    def open_machine(module):
        machine = Container(f'{store.directory}/root', work)
        try:
            ours = tree if getattr(module, 'INSTALLED', True) else None
            for source, name in payload_parts(ours, helpers):
                copy = shutil.copy if os.path.isfile(source) else copy_tree
                copy(source, os.path.normpath(f'{machine.root}/payload/{name}'))
            machine.run('bash /payload/setup.sh')
        except BaseException:
            machine.close()
            raise
        return machine
    return open_machine


def copy_tree(source, target):
    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns('__pycache__'))

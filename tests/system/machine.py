# SPDX-License-Identifier: MIT
"""What the VM and the container have in common: commands, waiting, and how failures are told."""
import subprocess
import time


class MachineError(Exception):
    """The machine itself failed: it did not start, panicked, or no longer answers."""


class CommandError(Exception):
    """A command in the machine failed, or took too long."""


class Machine:
    def try_run(self, command, timeout=60):
        """Runs a bash command as root; returns (exit status, output). Raises CommandError after timeout seconds."""
        raise NotImplementedError

    def run(self, command, timeout=60):
        """Runs a bash command as root; returns its output without the last newline. A status but 0 raises."""
        status, output = self.try_run(command, timeout)
        if status != 0:
            raise CommandError(f'status {status} from: {command}\n{output}')
        return output.rstrip('\n')

    def wait_for(self, command, timeout=20, every=0.2):
        """Waits until a command succeeds; returns its output."""
        loop = (f'until out=$( {{ {command}\n}} 2>&1 ); do '
                f'[ $SECONDS -lt {int(timeout)} ] || {{ echo "$out"; exit 1; }}; sleep {every}; done; echo "$out"')
        status, output = self.try_run(loop, timeout + 20)
        if status != 0:
            raise CommandError(f'not within {timeout} s: {command}\n{output}')
        return output.rstrip('\n')

    def journal(self, arguments='', since=None):
        """The journal as text, with times since the start."""
        after = f'--after-cursor={since!r}' if since else ''
        return self.run(f'journalctl -q --no-pager -o short-monotonic {after} {arguments}')

    def cursor(self):
        """A place in the journal, for journal(since=) and lines_of_ours(since=)."""
        return self.run('journalctl --sync; journalctl -q -n 1 --show-cursor | sed -n "s/^-- cursor: //p"')


def quote(text):
    """A word for the shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def openssl_verifies(public_key, data, signature):
    """True if the signature file is RSA PKCS#1 with SHA-256 over the data file."""
    result = subprocess.run(['openssl', 'dgst', '-sha256', '-verify', public_key, '-signature', signature, data],
                            capture_output=True, text=True, check=False)
    return result.returncode == 0 and 'Verified OK' in result.stdout


def eventually(check, timeout=10, every=0.02):
    """Calls check until it returns something true, and returns that; the last value after timeout seconds."""
    end = time.monotonic() + timeout
    while True:
        value = check()
        if value or time.monotonic() > end:
            return value
        time.sleep(every)

#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Runs commands for the tests inside the VM.

Requests and answers are lines of JSON on a virtio port. Each command runs in a session of its own, with its output in a
file: what it leaves in the background keeps nobody waiting, and several commands may be under way. No terminal is
between us and the command, and no login session: the command is nobody's seat.

    {"id": 1, "run": "SHELL COMMAND", "timeout": 60}     answered when the command has ended
    {"id": 2, "kill": 1}                                 ends the process group of command 1; its own answer follows
    {"id": 3, "write": "/path", "data": "base64", "mode": 420}
"""
import base64
import json
import os
import signal
import subprocess
import tempfile
import threading
import time

PORT = '/dev/virtio-ports/agent'


class Agent:
    def __init__(self, port):
        self.port = port
        self.lock = threading.Lock()
        self.running = {}

    def answer(self, **fields):
        data = json.dumps(fields).encode() + b'\n'
        with self.lock:
            while data:
                data = data[os.write(self.port, data):]

    def run(self, number, command, timeout):
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(['/bin/bash', '-c', command], stdin=subprocess.DEVNULL, stdout=output,
                                       stderr=subprocess.STDOUT, start_new_session=True, cwd='/root')
            self.running[number] = process
            try:
                status = process.wait(timeout)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                status = 'timeout'
            del self.running[number]
            output.seek(0)
            self.answer(id=number, status=status, output=output.read().decode(errors='replace'))

    def kill(self, number, target):
        process = self.running.get(target)
        if process and process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        self.answer(id=number, status=0, output='')

    def write(self, number, path, data, mode):
        with open(path, 'wb') as file:
            file.write(base64.b64decode(data))
        os.chmod(path, mode)
        self.answer(id=number, status=0, output='')

    def handle(self, request):
        number = request['id']
        if 'run' in request:
            task, arguments = self.run, (number, request['run'], request['timeout'])
        elif 'kill' in request:
            task, arguments = self.kill, (number, request['kill'])
        else:
            task, arguments = self.write, (number, request['write'], request['data'], request['mode'])
        threading.Thread(target=self.guarded, args=(number, task, arguments), daemon=True).start()

    def guarded(self, number, task, arguments):
        try:
            task(*arguments)
        except Exception as error:  # the test must hear of it, whatever it is
            self.answer(id=number, status='error', output=repr(error))


def main():
    while not os.path.exists(PORT):  # udev makes the link
        time.sleep(0.1)
    port = os.open(PORT, os.O_RDWR)
    agent = Agent(port)
    rest = b''
    while True:
        data = os.read(port, 65536)
        if not data:  # nobody at the host's end: the VM was frozen in between
            rest = b''
            time.sleep(0.05)
            continue
        *lines, rest = (rest + data).split(b'\n')
        for line in lines:
            if line:
                agent.handle(json.loads(line))


if __name__ == '__main__':
    main()

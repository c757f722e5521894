"""For benchmarks of `wattlaw serve`: model servers and gateways as processes, questions to ask them,
and what their processes use. No packages beside Python's own."""

import base64
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, '..', '..')
LLAMA_SERVER = os.path.join(ROOT, '.deps', 'bin', 'llama-server')
TASKS = os.path.join(ROOT, 'models', 'tasks')
READY_S = 300


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def descendants(pid):
    """The process and all below it."""
    found = [pid]
    for one in found:
        try:
            for task in os.listdir(f'/proc/{one}/task'):
                with open(f'/proc/{one}/task/{task}/children', encoding='ascii') as file:
                    found += [int(child) for child in file.read().split()]
        except OSError:
            pass
    return found


def cpu_s(pid):
    """CPU time of one process, from the scheduler's own clock."""
    try:
        return time.clock_gettime((-pid - 1) * 8 + 2)  # clock_getcpuclockid
    except OSError:
        return 0.0


def pss_mib(pid):
    """Proportional share of memory."""
    try:
        with open(f'/proc/{pid}/smaps_rollup', encoding='ascii') as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith('Pss:'))
    except (OSError, StopIteration):
        return 0.0


class Server:
    """A process that speaks OpenAI's API on a port, with all that it starts."""

    def __init__(self, command, log, environment=None):
        self.port = int(command[command.index('--port') + 1])
        with open(log, 'ab') as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=file,
                                            env=dict(os.environ, **(environment or {})))
        until = time.monotonic() + READY_S
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > until:
                with open(log, encoding='utf-8', errors='replace') as file:
                    sys.exit(f'not ready: {" ".join(command)}\n{file.read()[-2000:]}')
            time.sleep(0.1)

    def is_ready(self):
        """Its model is loaded."""
        try:
            return self.get('/health')[0] == 200
        except OSError:
            return False

    def get(self, path):
        """Status and text."""
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=30)
        try:
            connection.request('GET', path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode('utf-8', 'replace')
        finally:
            connection.close()

    def ask(self, question, leaves=False):
        """The answer's usage (of a stream: its last piece's); None for a client that leaves."""
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=600)
        try:
            connection.request('POST', '/v1/chat/completions', json.dumps(question),
                               {'Content-Type': 'application/json'})
            answer = connection.getresponse()
            if leaves:
                answer.read(1)
                return None
            text = answer.read().decode('utf-8', 'replace')
        finally:
            connection.close()
        if answer.status != 200:
            sys.exit(f'status {answer.status}: {text[:500]}')
        if not question.get('stream'):
            return json.loads(text)['usage']
        pieces = [json.loads(line[6:]) for line in text.splitlines()
                  if line.startswith('data: {')]
        return next((p['usage'] for p in reversed(pieces) if p.get('usage')), None)

    def cpu_s(self):
        """Of all its processes."""
        return sum(cpu_s(pid) for pid in descendants(self.process.pid))

    def pss_mib(self):
        """Of all its processes."""
        return sum(pss_mib(pid) for pid in descendants(self.process.pid))

    def stop(self):
        """And wait for its end."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_gateway(build, folder, name, options):
    """`wattlaw serve` of a build, with the estimate as its meter; its ledger is NAME.db."""
    return Server([os.path.join(build, 'bin', 'wattlaw'), 'serve', '--port', str(free_port()),
                   '--ledger', os.path.join(folder, name + '.db'), '--meters', 'estimate', '-q',
                   *options], os.path.join(folder, name + '.log'))


def start_llama_server(folder, name, options):
    """llama-server with its own defaults."""
    return Server([LLAMA_SERVER, '--host', '127.0.0.1', '--port', str(free_port()), *options],
                  os.path.join(folder, name + '.log'))


class Estimate:
    """The energy model of this machine, as `wattlaw doctor` tells it."""

    def __init__(self, build):
        done = subprocess.run([os.path.join(build, 'bin', 'wattlaw'), 'doctor', '--json'],
                              capture_output=True, text=True, check=False)
        found = re.search(r'idle ([0-9.]+) W, ([0-9.]+) W per busy core', done.stdout)
        if not found:
            sys.exit('wattlaw doctor tells no energy model')
        self.idle_w, self.core_w = float(found.group(1)), float(found.group(2))


# ---- questions ----

def read_tasks(name):
    """A task file's lines."""
    with open(os.path.join(TASKS, name), encoding='utf-8') as file:
        return [json.loads(line) for line in file if not line.startswith('#')]


def picture_uri(path):
    """data: address of a file of models/tasks."""
    kind = {'jpg': 'jpeg'}.get(path.rsplit('.', 1)[1], path.rsplit('.', 1)[1])
    with open(os.path.join(TASKS, path), 'rb') as file:
        return f'data:image/{kind};base64,' + base64.b64encode(file.read()).decode('ascii')


def question(task, max_tokens, stream=False, prefix=''):
    """A chat of one task. A prefix comes before all else: what differs there is computed anew."""
    content = prefix + task['prompt']
    if task.get('images'):
        content = [{'type': 'text', 'text': prefix}] if prefix else []
        content += [{'type': 'image_url', 'image_url': {'url': picture_uri(path)}}
                    for path in task['images']] + [{'type': 'text', 'text': task['prompt']}]
    out = {'messages': [{'role': 'user', 'content': content}], 'temperature': 0,
           'max_tokens': max_tokens, 'stream': stream}
    if stream:
        out['stream_options'] = {'include_usage': True}
    return out

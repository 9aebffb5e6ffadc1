"""Child processes that never outlive the comparison: each dies with its parent, at the latest."""

import contextlib
import ctypes
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

PR_SET_PDEATHSIG = 1
STOP_SECONDS = 15


class Failed(Exception):
    """A step did not do what the comparison needs; the text says which and why."""


def _child_setup():
    """Runs in the child: dies with the parent, and may open as many sockets as the system lets it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def call(command, seconds=900, **options):
    """Runs a step to its end and returns its output."""
    command = [str(word) for word in command]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, preexec_fn=_child_setup, check=False, **options
        )
    except subprocess.TimeoutExpired as cause:
        raise Failed(f"{command[0]} did not end within {seconds} s") from cause
    except FileNotFoundError as cause:
        raise Failed(f"{command[0]} is not installed") from cause
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-1000:]}{done.stderr[-3000:]}")
    return done.stdout


def call_json(command, seconds):
    return json.loads(call(command, seconds))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def http(method, url, headers=None, body=None, seconds=10):
    """(status, text) of one request; an error status is an answer, not an exception."""
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read().decode()


def wait_for(what, ready, process, seconds=60.0, pause=0.01):
    """Asks `ready()` until it is true."""
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            if ready():
                return
        if process.poll() is not None:
            raise Failed(f"{what} ended with exit code {process.returncode} before it was ready")
        if time.monotonic() > end:
            raise Failed(f"{what} was not ready within {seconds} s")
        time.sleep(pause)


def until(what, done, seconds, pause=0.05):
    """Asks `done()` until it is true."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise Failed(f"not within {seconds} s: {what}")
        time.sleep(pause)


def spawn(command, log):
    """Starts a server in a session of its own, its output in the file `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        out.write(("\n$ " + " ".join(map(str, command)) + "\n").encode())
        out.flush()
        return subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=_child_setup,
        )


def stop(process):
    """Ends a server and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_SECONDS)


@contextlib.contextmanager
def running(target, out: Path):
    """A fresh server of `target` with an empty data directory, both gone at the end."""
    data = out / "data" / target.name
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    target.port = free_port()
    target.data = data
    process = spawn(target.command(), out / "logs" / f"{target.name}.log")
    target.pid = process.pid
    try:
        wait_for(target.name, target.ready, process)
        target.prepare()
        yield target
    finally:
        stop(process)
        shutil.rmtree(data, ignore_errors=True)

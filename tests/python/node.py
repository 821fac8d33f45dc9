"""One relay process for the tests: starts it, reads what it says, and ends it; touches no other process."""

import os
import re
import socket
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

READY = re.compile(r"colloque ready: http http://(\S+), media udp")
# A fault of the relay, in either log format. A refused client is told so and is no error of the log.
FAULT = re.compile(r"panicked at|\bPANIC\b|\bERROR\b|\"level\":\s*\"(?i:error)\"|thread '.*' panicked|stack overflow")
ROOT = Path(__file__).resolve().parents[2]


def binary():
    path = Path(os.environ.get("COLLOQUE_BIN") or ROOT / "target/debug/colloque")
    if not path.exists():
        raise FileNotFoundError(f"no relay at {path}; build it, or name one in COLLOQUE_BIN")
    return path


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


class Node:
    """A running relay in dev mode."""

    def __init__(self, start_within=20.0, config=None, inside=()):
        """`inside` is a command that runs another one in some surroundings, by exec."""
        # A port that was free a moment ago may be a client's by now; three in a row are not.
        for attempt in range(3):
            self._start(config, inside)
            if self._ready.wait(start_within) and not self._ended:
                break
            self.stop()
            if attempt == 2 or "is in use by another program" not in "".join(self.lines):
                raise RuntimeError("the relay did not get ready:\n" + "".join(self.lines[-40:]))
        self.http = f"http://127.0.0.1:{self.port}"
        self.ws = f"ws://127.0.0.1:{self.port}"

    def _start(self, config, inside):
        self.port = free_port(socket.SOCK_STREAM)
        self.udp_port = free_port(socket.SOCK_DGRAM)
        words = [*inside, str(binary()), "serve", "--dev", "--port", str(self.port), "--udp-port", str(self.udp_port)]
        words += ["--config", str(config)] if config else []
        self.lines = []
        self._ready = threading.Event()
        self._ended = False
        self.process = subprocess.Popen(
            words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            if READY.search(line):
                self._ready.set()
        # Its output ends with it; whoever waits for the start shall not wait longer.
        self._ended = True
        self._ready.set()

    def faults(self, since=0):
        return [line for line in self.lines[since:] if FAULT.search(line)]

    def metrics(self):
        """The samples of /metrics by their name, labels included."""
        with urllib.request.urlopen(f"{self.http}/metrics", timeout=5) as answer:
            page = answer.read().decode()
        samples = {}
        for line in page.splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                samples[name] = float(value)
        return samples

    def resident_kib(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])

    def stop(self):
        """Asks for an orderly end; answers the exit code and how many seconds it took."""
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        self._reader.join(5)
        return self.process.returncode, time.monotonic() - began

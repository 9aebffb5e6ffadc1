"""One client program: started, listened to, and ended. What it dispatches arrives as one JSON line an event."""

import json
import subprocess
import threading
import time


class Failure(Exception):
    """The client did not do what it should; the text says what was seen instead."""


class Client:
    PATIENCE_SECONDS = 240

    def __init__(self, name, way, command):
        self.name, self.way = name, way
        self.lines, self.failure = [], None
        self.changed = threading.Condition()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        threading.Thread(target=self.listen, daemon=True).start()
        self.complaints = []
        threading.Thread(target=self.overhear, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(json.loads(line))
                self.changed.notify_all()
        with self.changed:
            self.lines.append({"ended": self.process.wait()})
            self.changed.notify_all()

    def overhear(self):
        for line in self.process.stderr:
            self.complaints = self.complaints[-20:] + [line.decode(errors="replace").rstrip()]

    def events(self, name=None):
        return [line for line in self.lines if "event" in line and name in (None, line["event"])]

    def wait(self, what, true):
        """Waits until `true(self)`; the client's end, or too long a time, is a failure."""
        give_up = time.monotonic() + self.PATIENCE_SECONDS
        with self.changed:
            while not true(self):
                left = give_up - time.monotonic()
                if left <= 0 or any("ended" in line for line in self.lines[-1:]):
                    raise Failure(f"waited for {what}; {self.seen()}")
                self.changed.wait(left)

    def seen(self):
        last = [str(line)[:200] for line in self.lines[-5:]]
        return f"{len(self.events('envelope'))} envelopes, last lines {last}, said {self.complaints[-3:]}"

    def end(self):
        self.process.terminate()
        self.process.wait()

"""Drives every client through the same life of one server, directly and behind nginx, and says which did well."""

import argparse
import pathlib
import re
import sys
import tempfile
import threading
import time
import traceback

from . import checks
from .client import Client, Failure
from .records import TRAPS, Poster, records
from .server import Gesta, Nginx, free_port

HERE = pathlib.Path(__file__).resolve().parent.parent
WAYS = ["plain", "nginx"]
RARE = "rare.note"


class Run:
    def __init__(self, options, folder):
        python = [options.python, "-u"]
        self.pages = {way: free_port() for way in WAYS}
        self.commands = {
            "chromium": lambda way: [*python, HERE / "browser/chromium.py", "URL", str(self.pages[way])],
            "eventsource": lambda way: ["node", HERE / "node/client.mjs", "URL"],
            "httpx-sse": lambda way: [*python, HERE / "python/httpx_sse_client.py", "URL"],
            "aiosseclient": lambda way: [*python, HERE / "python/aiosse_client.py", "URL"],
            "asyncio": lambda way: [*python, HERE / "python/line_reader.py", "URL"],
            "eventsource-client": lambda way: [options.rust_client, "URL"],
        }
        self.names = [name for name in self.commands if name not in options.skip.split(",")]
        self.failures = {}
        origins = [f"http://127.0.0.1:{port}" for port in self.pages.values()]
        self.server = Gesta(options.gesta, folder, origins)
        self.server.start()
        self.nginx = Nginx(folder, self.server.port)
        self.ports = {"plain": self.server.port, "nginx": self.nginx.port}
        self.poster = Poster(self.server.port)

    def start(self, query):
        """Every client on this query that has not failed yet, each told who it is, for nginx's log."""
        clients = []
        for way in WAYS:
            for name in self.names:
                if (name, way) in self.failures:
                    continue
                url = f"http://127.0.0.1:{self.ports[way]}/tail?{query}&client={name}."
                command = [url if part == "URL" else part for part in self.commands[name](way)]
                clients.append(Client(name, way, command))
        return clients

    def each(self, clients, step):
        """Does one step with every client that has not failed."""
        for client in clients:
            key = (client.name, client.way)
            if key in self.failures:
                continue
            try:
                step(client)
            except Failure as failure:
                self.failures[key] = str(failure)
                print(f"{client.name} {client.way} FAILED: {failure}", flush=True)

    def wait(self, clients, what, true):
        self.each(clients, lambda client: client.wait(what, true))

    def head(self):
        return max(records(self.server.port, "")) + 1

    def wait_for_all(self, clients, what):
        head = self.head()
        self.wait(clients, f"{what}, up to record {head - 1}", checks.has_all(head))

    def finish(self, clients, expected):
        self.each(clients, checks.nothing_but_our_events)
        self.each(clients, lambda client: checks.exactly(client, expected))
        for client in clients:
            client.end()

    def restart(self, during=lambda: None):
        self.server.kill()
        during()
        self.server.start()

    # The phases.

    def fill(self):
        for trap in TRAPS:
            self.poster.post(trap)
        for number in range(150):
            self.poster.post(f"record {number}")
        largest = self.poster.post_largest()
        for _ in range(3):
            self.poster.post("a rare one", RARE)
        # Two segments and a bit.
        for number in range(40):
            self.poster.post(f"{number} " + "\u2028\u00e9" * 12000)
        print(f"the log has {self.head()} records, the largest at {largest}", flush=True)

    def everything(self):
        """All from the beginning, live ones, a kill under load, two kills with nothing in between."""
        clients = self.start("since=-1")
        self.wait_for_all(clients, "all that is there")
        self.wait(clients, "the head", checks.caught_up_in(1))
        for trap in TRAPS:
            self.poster.post("live " + trap)
        self.wait_for_all(clients, "what is appended meanwhile")
        self.let_hearts_beat(clients)

        load = threading.Thread(target=lambda: [self.poster.post(f"under load {n}" + "z" * 9000) for n in range(200)])
        before = self.head()
        load.start()
        alive = True
        while self.head() < before + 50:
            # Whatever has ended the load would keep this here for ever.
            checks.demand(alive, "the load has failed")
            alive = load.is_alive()
        self.restart()
        load.join()
        self.wait_for_all(clients, "all again after kill -9 under load")

        # Nothing is appended in between: a client must keep its place over a connection without a record.
        for _ in range(2):
            connections = {client: len(client.events("log")) for client in clients}
            self.restart()
            self.each(clients, lambda client: client.wait(
                "the head after kill -9", checks.caught_up_in(connections[client] + 1)))
        self.poster.post("the last one")
        self.wait_for_all(clients, "the last one")
        self.finish(clients, records(self.server.port, ""))

    def let_hearts_beat(self, clients):
        """Two heartbeats: the line reader sees comments, and all are sent them at the same pace."""
        beats = lambda client: sum(line.get("comment") == "heartbeat" for line in client.lines)  # noqa: E731
        readers = [client for client in clients if client.name == "asyncio"]
        before = {client: beats(client) for client in readers}
        self.each(readers, lambda client: client.wait("two heartbeats", lambda c: beats(c) >= before[c] + 2))

    def sparse(self):
        """A filter that leaves nearly everything out: the cursor moves all the same, and is where a client resumes."""
        query = f"intent_type={RARE}&since=-1"
        clients = self.start(query)
        self.wait(clients, "the head", checks.caught_up_in(1))
        for number in range(5):
            self.poster.post(f"left out {number}")
        last = self.head() - 1
        self.wait(clients, f"a cursor at {last}", lambda client: any(
            event["id"] == event["data"] == str(last) for event in client.events("cursor")))
        connections = {client: len(client.events("log")) for client in clients}
        self.restart()
        self.each(clients, lambda client: client.wait(
            "the head again", checks.caught_up_in(connections[client] + 1)))
        self.poster.post("one more", RARE)
        self.wait_for_all(clients, "the next that the filter shows")
        self.finish(clients, records(self.server.port, query))
        self.each(clients, lambda client: self.came_back_behind(client, last))

    def came_back_behind(self, client, last):
        """nginx, which logs a request when it ends, has seen the cursor that the client came back with."""
        if client.way != "nginx":
            return
        cursor = re.compile(r"last[-_]event[-_]id=(\d+)")
        give_up = time.monotonic() + client.PATIENCE_SECONDS
        cursors = []
        while not cursors or max(cursors) < last:
            mine = [line for line in self.nginx.requests() if RARE in line and f"client={client.name}." in line]
            cursors = [int(found) for line in mine for found in cursor.findall(line)]
            checks.demand(time.monotonic() < give_up, f"came back with {cursors}, not with {last}: {mine}")
            time.sleep(0.05)

    def reset(self):
        """A cursor that the log does not have: told so, and sent back to the beginning."""
        clients = self.start("since=1000000")
        self.wait(clients, "a reset", lambda client: client.events("reset"))
        self.wait_for_all(clients, "everything after a reset")
        self.each(clients, lambda client: checks.demand(
            [event["id"] for event in client.events("reset")] == ["-1"], str(client.events("reset"))))
        self.finish(clients, records(self.server.port, ""))

    def shutdown(self):
        """In order, with followers: the clients are left behind, the server ends by itself."""
        clients = self.start("since=-1")
        self.wait(clients, "the head", checks.caught_up_in(1))
        code = self.server.stop()
        for client in clients:
            client.end()
        self.nginx.stop()
        if code != 0:
            self.failures["server", "plain"] = f"ended with {code} on SIGTERM: {self.server.log_end()}"

    def table(self):
        for name in self.names:
            for way in WAYS:
                failure = self.failures.get((name, way))
                print(f"{name} {way} {'ok' if failure is None else f'FAILED: {failure}'}")
        if ("server", "plain") in self.failures:
            print(f"server FAILED: {self.failures['server', 'plain']}")
        for name in self.commands:
            if name not in self.names:
                print(f"{name} SKIPPED: by --skip")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gesta", required=True)
    parser.add_argument("--rust-client", required=True)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--skip", default="", help="names of clients, separated by commas")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gesta-clients-") as folder:
        run = Run(options, folder)
        try:
            run.fill()
            for phase in (run.everything, run.sparse, run.reset, run.shutdown):
                print(f"-- {phase.__name__}: {phase.__doc__.splitlines()[0]}", flush=True)
                phase()
        except Exception:
            traceback.print_exc()
            print(run.server.log_end())
            run.server.kill()
            run.nginx.stop()
            return 1
        run.table()
        return 1 if run.failures else 0


sys.exit(main())

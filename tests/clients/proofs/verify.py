"""Exports the tiles of a real server and has aics-tlog verify them; then changes each kind of file, and has it refuse.

A folder of an export is what any static web server could serve: `checkpoint`, `tile/…`. The key goes another way.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

OLDER, NEWER = 300, 700
INDEXES = (0, 1, 255, 256, 299, 511, 512, 699)


class Server:
    def __init__(self, binary, data):
        self.process = subprocess.Popen(
            # What is appended here is all that is in the log.
            [binary, "serve", "--data", data, "--listen", "127.0.0.1:0", "--set", "decider.enabled=false"],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.url = self.process.stdout.readline().strip()
        if not self.url.startswith("http://"):
            raise RuntimeError("the server did not start")

    def get(self, path):
        with urllib.request.urlopen(self.url + path) as response:
            return response.read()

    def append(self, nth):
        payload = {"lane": "user", "actor": "a", "intent_type": "chat.message", "thread_id": "t", "turn_id": f"u-{nth}",
                   "parent_turn_id": None, "payload": {"message": f"say {nth}"}}
        body = {"interface_version": 2, "correlation_id": f"c-{nth}", "payload": payload}
        request = urllib.request.Request(
            self.url + "/ingress/intent", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request).close()

    def signed(self, size):
        """The newest checkpoint, once it covers so many records: a second where nothing else is to do."""
        for _ in range(1800):
            try:
                note = self.get("/checkpoint")
                if int(note.split(b"\n")[1]) >= size:
                    return note
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
            time.sleep(0.1)
        raise RuntimeError(f"{size} records are not signed")


def number(n):
    groups = []
    while True:
        groups.insert(0, f"{n % 1000:03}")
        n //= 1000
        if n == 0:
            return "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])


def paths(size):
    """All tiles of a tree, by the words of c2sp.org/tlog-tiles."""
    level, count = 0, size
    while count > 0:
        yield from (f"{level}/{path}" for path in in_level(count))
        level, count = level + 1, count // 256
    yield from (f"entries/{path}" for path in in_level(size))


def in_level(count):
    yield from (number(n) for n in range(count // 256))
    if count % 256:
        yield f"{number(count // 256)}.p/{count % 256}"


def export(server, size, folder):
    for path in paths(size):
        file = folder / "tile" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(server.get(f"/tile/{path}"))


class Verifier:
    def __init__(self, aics, vkey_file):
        self.aics, self.vkey_file = aics, vkey_file

    def accepts(self, *arguments):
        done = subprocess.run([self.aics, *arguments, "--vkey-file", self.vkey_file], capture_output=True, text=True)
        self.said = done.stdout + done.stderr
        return done.returncode == 0

    def inclusion(self, folder, index):
        return self.accepts("verify-inclusion", "--tiles", str(folder), "--index", str(index))

    def checkpoint(self, folder):
        return self.accepts("verify-checkpoint", "--tiles", str(folder))


def demand(condition, what, verifier):
    print(("ok   " if condition else "RED  ") + what, flush=True)
    if not condition:
        raise SystemExit(verifier.said)


def changed(folder, name, change, home):
    """A copy of the export in which one file is another."""
    copy = home / "changed"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    file = copy / name
    file.write_bytes(change(file.read_bytes()))
    return copy


def flip(at):
    return lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


def check(server, verifier, home):
    for nth in range(OLDER):
        server.append(nth)
    older = home / "older"
    older.write_bytes(server.signed(OLDER))
    for nth in range(OLDER, NEWER):
        server.append(nth)
    folder = home / "export"
    folder.mkdir()
    (folder / "checkpoint").write_bytes(server.signed(NEWER))
    export(server, NEWER, folder)

    demand(verifier.checkpoint(folder), "the checkpoint is signed, and its root is that of the tiles", verifier)
    for index in INDEXES:
        demand(verifier.inclusion(folder, index), f"record {index} is in the tree", verifier)
    consistency = ("verify-consistency", "--tiles", str(folder), "--old-checkpoint", str(older))
    demand(verifier.accepts(*consistency), "the older checkpoint is the beginning of the newer one", verifier)

    refused = {
        "a changed signature": ("checkpoint", flip(-10)),
        "a changed size": ("checkpoint", lambda note: note.replace(b"\n700\n", b"\n699\n")),
        "a changed leaf": ("tile/0/000", flip(40)),
        "a changed tile above": ("tile/1/000.p/2", flip(40)),
        "a changed entry": ("tile/entries/000", flip(200)),
    }
    for what, (name, change) in refused.items():
        copy = changed(folder, name, change, home)
        demand(not (verifier.checkpoint(copy) and verifier.inclusion(copy, 0)), f"{what} is refused", verifier)
    forged = home / "forged"
    forged.write_bytes(older.read_bytes().replace(b"\n300\n", b"\n301\n"))
    demand(
        not verifier.accepts("verify-consistency", "--tiles", str(folder), "--old-checkpoint", str(forged)),
        "a changed older checkpoint is refused", verifier,
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gesta", required=True)
    parser.add_argument("--aics", required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        home = pathlib.Path(home)
        server = Server(arguments.gesta, home / "data")
        try:
            server.signed(0)
            vkey = home / "vkey"
            vkey.write_text(json.loads(server.get("/checkpoint/keys"))["keys"][0] + "\n")
            check(server, Verifier(arguments.aics, str(vkey)), home)
        finally:
            server.process.terminate()
            server.process.wait()
    print("aics-tlog accepts what the server signs and serves, and refuses what was changed")


if __name__ == "__main__":
    main()

"""The servers: how each is started, when it is ready, and how it is asked.

Every append is synced before its answer, except by `axum`, which has no disk, and `nginx`, which
only serves a file.
"""

import json
import os
import shutil
import socket

from . import install
from .process import Failed, call, http

INTENTS = "/ingress/intent"


class Target:
    """One server. `port`, `data` and `pid` are set while it runs."""

    name = ""
    measures = ()
    durable = True

    def __init__(self, out):
        self.out = out
        self.port = self.data = self.pid = None

    def install(self):
        """Makes the server's program available."""

    def command(self):
        raise NotImplementedError

    def ready(self):
        with socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True

    def prepare(self):
        """What must exist before the first append."""

    def append_arguments(self):
        raise NotImplementedError

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def url(self):
        return f"http://{self.address}"


class Gesta(Target):
    name = "gesta"
    measures = ("append", "latency", "catchup", "fanout", "start")

    def __init__(self, out, binary):
        super().__init__(out)
        self.binary = binary

    def install(self):
        self.binary = install.gesta(self.binary)

    # The others order records and decide nothing.
    settings = ("decider.enabled=false",)

    def command(self):
        settings = [word for setting in self.settings for word in ("--set", setting)]
        return [self.binary, "serve", "--data", self.data, "--listen", self.address, *settings]

    def ready(self):
        return http("GET", f"{self.url}/readyz")[0] == 200

    def append_arguments(self):
        return ["--protocol", "http", "--target", INTENTS]

    def head(self):
        return json.loads(http("GET", f"{self.url}/status")[1])["head"]

    def live_path(self):
        return f"/tail?since={self.head() - 1}"

    def catchups(self, records):
        """(name, arguments, what counts a record) of each way to read a whole history."""
        return [("gesta", ["--path", f"/tail?since=-1&until={records - 1}"], "\nevent: envelope\n")]


class GestaDeciding(Gesta):
    """With a DECISION and an echo execution for each intent."""

    name = "gesta-deciding"
    measures = ("append",)
    settings = ()


class DurableStreams(Target):
    name = "durable-streams"
    measures = ("append", "latency", "catchup", "fanout")
    stream = "/intents"

    def install(self):
        self.binary = install.durable_streams(self.out)

    def command(self):
        return [self.binary, "--host", "127.0.0.1", "--port", self.port, "--data-dir", self.data]

    def prepare(self):
        status, text = http("PUT", self.url + self.stream, {"Content-Type": "application/json"})
        if status != 201:
            raise Failed(f"durable-streams does not create a stream: {status} {text}")

    def append_arguments(self):
        return ["--protocol", "http", "--target", self.stream]

    def live_path(self):
        return f"{self.stream}?offset=now&live=sse"

    def catchups(self, records):
        del records
        sse = ["--path", f"{self.stream}?offset=-1&live=sse", "--end-marker", '"upToDate":true']
        record = '"interface_version":'
        return [
            ("durable-streams", sse, record),
            ("durable-streams-file", ["--path", f"{self.stream}?offset=-1"], record),
        ]


class Redis(Target):
    name = "redis"
    measures = ("append", "latency")

    def install(self):
        self.binary, self.environment = install.debian(self.out, "redis-server", "redis-server")

    def command(self):
        return with_environment(self.environment) + [
            self.binary, "--bind", "127.0.0.1", "--port", self.port, "--dir", self.data,
            "--appendonly", "yes", "--appendfsync", "always", "--save", "",
            # A rewrite in the middle of a run would be measured as Redis's own speed.
            "--auto-aof-rewrite-percentage", "0", "--daemonize", "no",
        ]  # fmt: skip

    def append_arguments(self):
        return ["--protocol", "redis", "--target", "intents"]


class Nats(Target):
    name = "nats"
    measures = ("append", "latency")

    def install(self):
        self.binary = install.nats(self.out)

    def command(self):
        config = self.data / "nats.conf"
        config.write_text(
            f'listen: "{self.address}"\n'
            f'jetstream {{ store_dir: "{self.data / "jetstream"}", sync_interval: always }}\n'
        )
        return [self.binary, "--config", config]

    def prepare(self):
        stream = json.dumps({"name": "INTENTS", "subjects": ["intents"], "storage": "file"})
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(
                b'CONNECT {"verbose":false}\r\nSUB _INBOX.setup 1\r\n'
                + f"PUB $JS.API.STREAM.CREATE.INTENTS _INBOX.setup {len(stream)}\r\n{stream}\r\n".encode()
            )
            answer = b""
            while b"MSG " not in answer or not answer.endswith(b"}\r\n"):
                answer += connection.recv(65536) or (_ for _ in ()).throw(Failed("nats-server hung up"))
        if b'"error"' in answer:
            raise Failed(f"nats-server does not create a stream: {answer}")

    def append_arguments(self):
        return ["--protocol", "nats", "--target", "intents"]


class Axum(Target):
    name = "axum"
    measures = ("append",)
    durable = False

    def __init__(self, out, binary):
        super().__init__(out)
        self.binary = binary

    def command(self):
        return [self.binary, self.address]

    def append_arguments(self):
        return ["--protocol", "http", "--target", INTENTS]


class Nginx(Target):
    """Serves the bytes of a saved tail as a static file."""

    name = "nginx"
    measures = ("catchup",)
    durable = False

    def install(self):
        self.binary, self.environment = install.debian(self.out, "nginx", "nginx")

    def command(self):
        config = self.data / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        temporary = "".join(
            f"{kind}_temp_path {self.data}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config.write_text(
            f"daemon off; {user} worker_processes auto; pid {self.data}/pid; error_log stderr;\n"
            "events { worker_connections 4096; }\n"
            f"http {{ access_log off; sendfile on; tcp_nopush on; {temporary}\n"
            f"  server {{ listen {self.address}; root {self.data}; }} }}\n"
        )
        return with_environment(self.environment) + [self.binary, "-p", self.data, "-c", config, "-e", "stderr"]

    def catchups(self, records):
        del records
        return [("nginx", ["--path", "/tail"], None)]

    def serve(self, saved):
        shutil.copyfile(saved, self.data / "tail")


def with_environment(environment):
    return ["env", *(f"{name}={value}" for name, value in environment.items())] if environment else []


def fill(target, load, records):
    """Appends `records` intents."""
    call(
        [load, "append", "--addr", target.address, *target.append_arguments(),
         "--connections", 64, "--seconds", 600, "--count", records],
        seconds=660,
    )  # fmt: skip

"""The servers: how each is started, when it is ready, and how it is asked.

Every append is synced before its answer, except by `axum`, which has no disk, and `nginx`, which
only serves a file.
"""

import hashlib
import json
import os
import pwd
import shutil
import socket
import subprocess

from . import install
from .process import Failed, call, call_json, free_port, http, until

INTENTS = "/ingress/intent"

# How long a queue may take to fill.
FILL_SECONDS = 600


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


class GestaTasks(Gesta):
    """With a handler whose tasks workers claim, on plain listeners of loopback."""

    name = "gesta-tasks"
    measures = ("tasks", "leases")
    settings = ()

    intent_type = pool = "bench"
    # What the server knows by their digests.
    token, worker_token = "bench-client", "bench-worker"
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def command(self):
        self.task_port, self.internal_port = free_port(), free_port()
        config = self.out / "gesta-tasks.toml"
        config.write_text(
            _token(self.token, "intent.write", "log.read", "operator", "auditor")
            + _token(self.worker_token, "worker")
            + f'workers = ["w-*"]\npools = ["{self.pool}"]\n'
        )
        listen = ["--listen-task", f"127.0.0.1:{self.task_port}", "--listen-internal", f"127.0.0.1:{self.internal_port}"]
        return [*super().command(), *listen, "--insecure-loopback", "--config", config]

    def prepare(self):
        self.register()

    def register(self, **more):
        handler = {"intent_type": self.intent_type, "handler_name": "bench", "kind": "worker", "pool": self.pool, **more}
        status, text = http("POST", f"{self.url}/api/intent/handlers", self.headers, json.dumps(handler).encode())
        if status not in (200, 201):
            raise Failed(f"gesta registers no handler: {status} {text}")

    def fill_tasks(self, load, count):
        """Posts intents, and waits until each is a task that a worker could claim."""
        authorized = ["--header", f"Authorization: Bearer {self.token}", "--intent-type", self.intent_type]
        fill(self, load, count, *authorized)
        until("all tasks wait", lambda: self.depth() == count, FILL_SECONDS)
        self.filled = count

    def depth(self):
        status, text = http("GET", f"{self.url}/api/task?limit=1", self.headers)
        if status != 200:
            raise Failed(f"/api/task answered {status}: {text}")
        return sum(pool["depth"] for pool in json.loads(text)["pools"] if pool["pool"] == self.pool)

    def check_tasks(self, got):
        taken = self.filled - self.depth()
        if taken < got["pairs"]:
            raise Failed(f"{got['pairs']} completions of {taken} tasks that wait no more")

    def lease_arguments(self):
        addresses = ["--internal", f"127.0.0.1:{self.internal_port}", "--task", f"127.0.0.1:{self.task_port}"]
        return [*addresses, "--token", self.worker_token, "--pool", self.pool]

    def task_arguments(self):
        return ["--protocol", "gesta", *self.lease_arguments()]


def _token(token, *roles):
    digest = hashlib.sha256(token.encode()).hexdigest()
    return f'[[auth.tokens]]\nname = "{token}"\nsha256 = "{digest}"\nroles = {json.dumps(roles)}\n'


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
    measures = ("append", "latency", "tasks")

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

    def fill_tasks(self, load, count):
        """A stream of its own, and a group that has read nothing of it."""
        self.say("XGROUP", "CREATE", "tasks", "bench", "0", "MKSTREAM")
        fill(self, load, count, arguments=["--protocol", "redis", "--target", "tasks"])

    def task_arguments(self):
        return ["--protocol", "redis", "--addr", self.address, "--stream", "tasks", "--group", "bench"]

    def check_tasks(self, got):
        results = self.say("XLEN", "results")
        if int(results[1:]) < got["pairs"]:
            raise Failed(f"{got['pairs']} completions left {results} results")

    def say(self, *words):
        """The first line of a command's answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            command = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
            connection.sendall(command.encode())
            answer = connection.makefile("rb").readline().decode().strip()
        if answer.startswith("-") or not answer:
            raise Failed(f"redis answers {' '.join(words)} with {answer!r}")
        return answer


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


class Postgresql(Target):
    """Debian's settings, which are durable: fsync and synchronous_commit are on."""

    name = "postgresql"
    measures = ("tasks",)
    superuser = "bench"

    def install(self):
        self.programs, self.environment = install.postgresql(self.out)

    def command(self):
        user = _unprivileged()
        if user:
            shutil.chown(self.data, user.pw_uid, user.pw_gid)
        cluster = self.data / "cluster"
        make = ["--pgdata", cluster, "--username", self.superuser, "--auth", "trust", "--encoding", "UTF8", "--locale", "C"]
        call([*self.within(user), self.programs / "initdb", *make], cwd="/")
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": ""}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [*self.within(user), self.programs / "postgres", "-D", cluster, *words]

    def within(self, user):
        """PostgreSQL refuses to run as root. The pid stays that of the server."""
        drop = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"] if user else []
        return with_environment(self.environment) + drop + (["--pdeathsig", "KILL"] if user else [])

    def client(self, program, *words):
        address = ["--host", "127.0.0.1", "--port", self.port, "--username", self.superuser]
        return with_environment(self.environment) + [self.programs / program, *address, "--dbname", "postgres", *words]

    def ready(self):
        command = [str(word) for word in self.client("pg_isready", "--quiet")]
        return subprocess.run(command, check=False).returncode == 0

    def sql(self, *statements):
        words = [word for statement in statements for word in ("--command", statement)]
        quiet = ["--quiet", "--no-psqlrc", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"]
        return call(self.client("psql", *quiet, *words)).strip()

    def prepare(self):
        self.sql(
            "CREATE TABLE tasks (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state text NOT NULL DEFAULT 'queued',"
            " attempt int NOT NULL DEFAULT 0, worker text, token uuid, lease_expires_at timestamptz,"
            " completed_at timestamptz, payload json NOT NULL, result json)",
            "CREATE INDEX tasks_queued ON tasks (id) WHERE state = 'queued'",
        )

    def fill_tasks(self, load, count):
        """Rows of 450 bytes of payload, and a table that has just been tidied up."""
        del load
        payload = ('{"correlation_id":"c-', '","message":"', '"}')
        pad = 450 - sum(map(len, payload)) - 12
        value = f"'{payload[0]}' || lpad(n::text, 12, '0') || '{payload[1]}' || repeat('x', {pad}) || '{payload[2]}'"
        self.sql(
            f"INSERT INTO tasks (payload) SELECT ({value})::json FROM generate_series(1, {count}) AS n",
            "VACUUM (ANALYZE) tasks",
            "CHECKPOINT",
        )
        if self.sql("SELECT min(length(payload::text)), max(length(payload::text)), count(*) FROM tasks") != f"450|450|{count}":
            raise Failed("postgresql's tasks are not what they should be")

    def task_arguments(self):
        return ["--protocol", "postgres", "--addr", self.address, "--user", self.superuser, "--database", "postgres"]

    def check_tasks(self, got):
        completed = int(self.sql("SELECT count(*) FROM tasks WHERE state = 'completed'"))
        if completed < got["pairs"]:
            raise Failed(f"{got['pairs']} completions left {completed} completed rows")


def _unprivileged():
    """Whom to become; nobody else, where this is not run by root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


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


def fill(target, load, records, *more, arguments=None):
    """Appends `records` intents, all of them."""
    got = call_json(
        [load, "append", "--addr", target.address, *(arguments or target.append_arguments()), *more,
         "--connections", 64, "--seconds", FILL_SECONDS, "--count", records],
        FILL_SECONDS + 60,
    )  # fmt: skip
    if got["completed"] != records:
        raise Failed(f"{target.name} took {got['completed']} of {records} intents: {got['first_refusal']}")

"""The real server and, before it, nginx: each on a port of its own, outside the range that the system hands out, so that
a client that comes back while nobody listens cannot meet itself."""

import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import threading
import time

# Nothing that goes well waits for these, however busy the machine is.
START_SECONDS_MAX = 180
STOP_SECONDS_MAX = 60


def free_port():
    for _ in range(1000):
        port = random.randrange(20000, 30000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


class Gesta:
    """`gesta serve` on one data directory; may be killed and started again on the same port."""

    def __init__(self, binary, folder, cors_origins):
        self.port = free_port()
        self.binary, self.folder = binary, pathlib.Path(folder)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GESTA_")},
            "GESTA_SERVER__CORS_ORIGINS": ",".join(cors_origins),
            "GESTA_TAIL__HEARTBEAT_SECONDS": "1",
            "GESTA_TAIL__RETRY_MS": "300",
            # What clients post is all that is in the log.
            "GESTA_DECIDER__ENABLED": "false",
            # Small, so that the tail runs over seals and headers.
            "GESTA_LOG__SEGMENT_BYTES": "1048576",
        }
        self.process = None

    def start(self):
        arguments = [self.binary, "serve", "--data", self.folder / "data", "--listen", f"127.0.0.1:{self.port}"]
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                arguments, stdout=subprocess.PIPE, stderr=log, env=self.environment, text=True
            )
        timer = threading.Timer(START_SECONDS_MAX, self.process.kill)
        timer.start()
        ready = self.process.stdout.readline()
        timer.cancel()
        if not ready.startswith("http://"):
            raise RuntimeError(f"the server did not start: {self.log_end()}")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Ends it in order, with all its followers, and returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            return f"not ended within {STOP_SECONDS_MAX} s"

    def log_end(self):
        return (self.folder / "server.log").read_text()[-2000:]


NGINX = """
user root;
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.error.log;
events {{ }}
http {{
    log_format cursors '$status $args last-event-id=$http_last_event_id';
    access_log {folder}/nginx.access.log cursors;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
        }}
    }}
}}
"""


class Nginx:
    """Debian's nginx with its default proxy settings."""

    def __init__(self, folder, upstream):
        self.port, self.folder = free_port(), pathlib.Path(folder)
        config = self.folder / "nginx.conf"
        config.write_text(NGINX.format(folder=folder, port=self.port, upstream=upstream))
        binary = shutil.which("nginx") or "/usr/sbin/nginx"
        self.process = subprocess.Popen([binary, "-p", folder, "-c", config], stderr=subprocess.DEVNULL)
        self.wait_until_it_listens()

    def wait_until_it_listens(self):
        give_up = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                if self.process.poll() is not None or time.monotonic() > give_up:
                    raise
                time.sleep(0.02)

    def requests(self):
        return (self.folder / "nginx.access.log").read_text().splitlines()

    def stop(self):
        self.process.terminate()
        self.process.wait()

"""Headless Chromium's EventSource, on a page of an origin that the server's configuration allows.

Serves the page and takes what it says, one JSON line for each event, and passes it on to standard output. Arguments: the
tail's URL, and the port of the page, which is part of its origin.
"""

import http.server
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.parse

PAGE = pathlib.Path(__file__).with_name("page.html").read_bytes()
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        found = self.path.startswith("/?")
        self.answer(200 if found else 404, PAGE if found else b"")

    def do_POST(self):
        sys.stdout.buffer.write(self.rfile.read(int(self.headers["content-length"])))
        sys.stdout.flush()
        self.answer(204, b"")

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-type", "text/html; charset=utf-8")
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    # Being ended runs what follows `finally`, else the browser would go on.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    url, port = sys.argv[1], int(sys.argv[2])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    page = f"http://127.0.0.1:{port}/?{urllib.parse.urlencode({'url': url})}"
    folder = tempfile.mkdtemp(prefix="gesta-chromium-")
    browser = subprocess.Popen(
        [shutil.which("chromium"), *FLAGS, f"--user-data-dir={folder}", page],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        server.serve_forever()
    finally:
        browser.kill()
        browser.wait()
        shutil.rmtree(folder, ignore_errors=True)


main()

"""What the Python clients share: one JSON line for each event on standard output, and when to come back."""

import asyncio
import json
import sys
from urllib.parse import urlsplit

REOPEN_SECONDS = 0.3


def say(**line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def event(name, cursor, data):
    say(event=name, id=cursor, data=data)


async def for_ever(connect):
    """Calls `connect(cursor)`, an async generator of cursors, again and again, each time behind the last cursor."""
    cursor = None
    while True:
        try:
            async for seen in connect(cursor):
                # Only what has an id moves the cursor: none and "" leave it where it is.
                cursor = seen or cursor
            say(broken="the stream ended")
        except Exception as error:  # noqa: BLE001: whatever a library raises when a server is killed
            say(broken=repr(error))
        await asyncio.sleep(REOPEN_SECONDS)


def main(connect):
    url = sys.argv[1]
    asyncio.run(for_ever(lambda cursor: connect(url, cursor)))


def host_port_path(url):
    parts = urlsplit(url)
    return parts.hostname, parts.port, f"{parts.path}?{parts.query}"

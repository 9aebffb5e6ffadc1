"""No library at all: a socket, readline, and the rules of the event stream.

HTTP/1.0, so that the body comes without chunks. The 64 KiB that asyncio allows for a line by default are enough: the
longest line of a tail stays below.
"""

import asyncio

import lines


async def head(reader):
    status = await reader.readline()
    while await reader.readline() not in (b"\r\n", b""):
        pass
    if b" 200 " not in status:
        raise ConnectionError(f"answered {status!r}")


async def events(reader):
    """(name, id or None, data) of each event; the last one that a broken connection leaves incomplete is none."""
    name, cursor, data = "message", None, []
    async for line in reader:
        if line == b"\n":
            if data:
                yield name, cursor, "\n".join(data)
            name, data = "message", []
            continue
        field, _, value = line.decode().removesuffix("\n").partition(":")
        value = value.removeprefix(" ")
        if field == "":
            lines.say(comment=value)
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            cursor = value


async def connect(url, cursor):
    host, port, path = lines.host_port_path(url)
    reader, writer = await asyncio.open_connection(host, port)
    try:
        resume = "" if cursor is None else f"Last-Event-Id: {cursor}\r\n"
        request = f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\nAccept: text/event-stream\r\n{resume}\r\n"
        writer.write(request.encode())
        await head(reader)
        lines.say(opened=True)
        async for name, seen, data in events(reader):
            lines.event(name, seen, data)
            yield seen
    finally:
        writer.close()


lines.main(connect)

"""httpx-sse. It neither reconnects nor waits: both are the caller's, and httpx's read timeout of 5 s must be longer
than the heartbeat."""

import httpx
import lines
from httpx_sse import aconnect_sse


async def connect(url, cursor):
    headers = {} if cursor is None else {"Last-Event-Id": cursor}
    timeout = httpx.Timeout(5, read=60)
    async with httpx.AsyncClient(timeout=timeout) as client:
        async with aconnect_sse(client, "GET", url, headers=headers) as source:
            source.response.raise_for_status()
            lines.say(opened=True)
            async for event in source.aiter_sse():
                lines.event(event.event, event.id, event.data)
                yield event.id


lines.main(connect)

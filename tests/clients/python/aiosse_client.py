"""aiosseclient. Two things are the caller's: to come back, and to keep its line splitting away from the text.

Event.parse splits with str.splitlines, that is also at U+0085, U+2028 and U+2029, which are no line ends in an event
stream and may stand in a JSON string: it would cut the data, and could be made to read an id out of a text. Escaped as
JSON they mean the same and split nothing.
"""

import aiosseclient
import lines

SEPARATORS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}
parse = aiosseclient.Event.parse
aiosseclient.Event.parse = lambda raw: parse(raw.translate(SEPARATORS))


async def connect(url, cursor):
    opened = False
    events = aiosseclient.aiosseclient(url, last_id=cursor, raise_for_status=True)
    async for event in events:
        if not opened:
            lines.say(opened=True)
            opened = True
        lines.event(event.event, event.id, event.data)
        yield event.id


lines.main(connect)

"""What is in the log: intents that are posted until they are acknowledged, and the tail as the disk has it."""

import http.client
import json
import time

# FORMAT.md, "Envelope": an envelope is accepted if it fits these bytes with an index of 16 digits.
ENVELOPE_BYTES_MAX, INDEX_DIGITS_MAX = 65_000, 16

# What a client may take for the end of a line or for a field of its own, and must not.
TRAPS = [
    "U+2028:\u2028id: 999\u2028data: x",
    "U+2029:\u2029event: reset",
    "U+0085:\u0085id: 998\u0085\u0085",
    "controls: \r\n\r \u000b \u000c \u001c \u001d \u001e \u0000 \t",
    "\ufeffbyte order mark, \U0001f600 beyond the first plane, \u00e9 e\u0301",
    "data: data: {}\n\nid: 997\n\n",
    ": comment",
    "",
]

PATIENCE_SECONDS = 180


class Poster:
    def __init__(self, port):
        self.port, self.count, self.connection = port, 0, None

    def post(self, message, intent_type="chat.message"):
        """Posts until it is acknowledged, over restarts of the server, and returns the index."""
        self.count += 1
        envelope = {
            "interface_version": 2,
            "correlation_id": f"c-{self.count}",
            "payload": {
                "lane": "user",
                "actor": "tester",
                "intent_type": intent_type,
                "thread_id": "t-1",
                "turn_id": f"turn-{self.count}",
                "parent_turn_id": None,
                "payload": {"message": message},
            },
        }
        body = json.dumps(envelope).encode()
        give_up = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self.try_post(body)
            except (OSError, http.client.HTTPException):
                self.connection = None
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.01)

    def try_post(self, body):
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        self.connection.request("POST", "/ingress/intent", body, {"Content-Type": "application/json"})
        response = self.connection.getresponse()
        answer = response.read()
        if response.status == 503:
            raise OSError(answer)
        if response.status not in (200, 202):
            raise RuntimeError(f"{response.status} {answer}")
        return json.loads(answer)["index"]

    def post_largest(self):
        """Appends the largest envelope that an index of so many digits can have."""
        size = ENVELOPE_BYTES_MAX - 1000
        index = self.post("x" * size)
        spare = ENVELOPE_BYTES_MAX - INDEX_DIGITS_MAX + len(str(index)) - len(self.envelope(index))
        index = self.post("y" * (size + spare))
        got, room = len(self.envelope(index)), INDEX_DIGITS_MAX - len(str(index))
        if got + room != ENVELOPE_BYTES_MAX:
            raise RuntimeError(f"the largest envelope has {got} bytes, at {index}")
        return index

    def envelope(self, index):
        return records(self.port, f"since={index - 1}&until={index}")[index].encode()


def records(port, query):
    """{index: the text of its data line}, read as the bytes lie."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    connection.request("GET", f"/tail?{query}&follow=false")
    found, index, name = {}, None, None
    for line in connection.getresponse().read().split(b"\n"):
        field, _, value = line.partition(b": ")
        if field == b"id":
            index = int(value)
        elif field == b"event":
            name = value
        elif field == b"data" and name == b"envelope":
            found[index] = value.decode()
    connection.close()
    return found

"""What is true of everything that a client dispatched, whatever its library."""

import json

from .client import Failure

NAMES = {"envelope", "log", "caught-up", "cursor", "reset"}


def demand(true, said):
    if not true:
        raise Failure(said)


def nothing_but_our_events(client):
    """No event for a comment, a heartbeat, a header or a seal; none without data."""
    for event in client.events():
        demand(event["event"] in NAMES, f"dispatched an event of another name: {str(event)[:200]}")
        demand(event["data"] != "", f"dispatched an empty event: {event}")
        if event["event"] != "envelope":
            json.loads(event["data"])


def exactly(client, expected):
    """These envelopes, in this order, each once, with their own ids and the text that the log has."""
    got = client.events("envelope")
    indices = [int(event["id"]) for event in got]
    wanted = sorted(expected)
    for at, (index, want) in enumerate(zip(indices, wanted)):
        demand(index == want, f"envelope {at} has id {index}, not {want}: {indices[max(at - 3, 0) : at + 4]}")
    demand(len(indices) == len(wanted), f"{len(indices)} envelopes, not {len(wanted)}: {indices[-5:]}")
    for event in got:
        index = int(event["id"])
        same = event["data"] == expected[index] or json.loads(event["data"]) == json.loads(expected[index])
        demand(same, f"record {index} has another text: {event['data'][:200]}")


def has_all(head):
    """Everything below `head` has arrived, and the client knows that it is at the end."""
    return lambda client: any(e["id"] == str(head - 1) for e in reversed(client.events("envelope")[-1:]))


def caught_up_in(connection):
    """Its n-th connection has been told that it is at the end."""

    def true(client):
        logs = 0
        for event in client.events():
            logs += event["event"] == "log"
            if event["event"] == "caught-up" and logs >= connection:
                return True
        return False

    return true

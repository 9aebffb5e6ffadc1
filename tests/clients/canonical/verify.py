"""Compares the canonical JSON and the digests of Gesta with those of the package rfc8785: in recorded logs, and in what
a real server makes of generated intents in many spellings.

What is compared with is computed from parsed values alone, never taken from Gesta's text.
"""

import argparse
import hashlib
import http.client
import json
import pathlib
import random
import re
import tempfile

import rfc8785
from driver.records import records
from driver.server import Gesta

import documents

ROOT = pathlib.Path(__file__).resolve().parents[3]
# A record whose connection broke has another line where this wants the blank one.
RECORD = re.compile(rb"\nid: ([0-9]+)\nevent: envelope\ndata: ([^\n]*)\n\n")

INTENTS, BLOBS = 600, 3
ENVELOPE_BYTES_MAX, DEPTH_MAX = 65_000, 64
ANCHORS = ("actor", "correlation_id", "intent_type", "lane", "thread_id", "turn_id")

# Gesta refuses more numbers than the package does (FORMAT.md, section 5); these are refused by both.
REFUSED = [
    "9007199254740992", "-9007199254740992", "9007199254740993", "12345678901234567890", "1" + "0" * 400, "1e309",
    "-1E400", "NaN", "nan", "Infinity", "-Infinity", "0x10", "+1", "01", "-01", "1.", ".5", "1e", "1e+", "--1", "1_000",
    '"\\ud800"', '"\\udc00\\ud800"', '"x\\uD83D"', '{"\\uDE00":1}',
]


class Disagreement(Exception):
    pass


def demand(condition, what):
    if not condition:
        raise Disagreement(what)


def digest(value):
    return "sha256:" + hashlib.sha256(rfc8785.dumps(value)).hexdigest()


def agreed(text, where):
    """The envelope in a record's text, once the text and its digest are what the package makes of the value."""
    envelope = json.loads(text)
    demand(rfc8785.dumps(envelope) == text, f"{where}: the package prints {rfc8785.dumps(envelope)} for {text}")
    covered = {name: value for name, value in envelope.items() if name not in ("index", "recorded_at", "digest")}
    covered["payload"] = {name: value for name, value in envelope["payload"].items() if name != "_obs"}
    demand(digest(covered) == envelope["digest"], f"{where}: its digest is {digest(covered)}: {text}")
    return envelope


def check_fixtures():
    golden = ROOT / "fixtures/format/golden"
    read = json.loads((golden / "expected.json").read_text())["records"]
    expected = {record["index"]: record["digest"] for record in read}
    demand(check_files(golden / "log", "*.log") == expected, "the golden log has other records than expected.json")
    demand(check_files(golden, "*.sse") == expected, "the golden tail has other records than expected.json")
    # Those beside `good` are wrong on purpose.
    for folder in sorted((ROOT / "fixtures/logs/good").glob("*")):
        demand(check_files(folder, "**/*.log", "**/*.sse"), f"{folder}: no records")


def check_files(folder, *patterns):
    """{index: digest} of the records in these files, which may overlap."""
    seen = {}
    for file in sorted(file for pattern in patterns for file in folder.glob(pattern)):
        for index, text in RECORD.findall(file.read_bytes()):
            envelope = agreed(text, f"{file.relative_to(ROOT)}, index {int(index)}")
            seen[envelope["index"]] = envelope["digest"]
    print(f"ok   {len(seen)} records in {folder.relative_to(ROOT)}: {' '.join(patterns)}", flush=True)
    return seen


class Client:
    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, method, path, body=None, headers=()):
        self.connection.request(method, path, body, {"Content-Type": "application/json", **dict(headers)})
        response = self.connection.getresponse()
        return response.status, response.read()

    def get(self, path):
        status, answer = self.ask("GET", path)
        demand(status == 200, f"{path}: {status} {answer}")
        return answer


def payloads(seeded):
    """The clients' own objects: numbers, keys, characters and depth at their limits, and then what the seed makes."""
    yield {"integers": documents.INTEGERS, "decimals": documents.DECIMALS, "negative": [-x for x in documents.DECIMALS]}
    yield {"\ufb33": 1, "\U0001f600": 2, "\u00e9": 3, "": 4, "\u2028": "\u2029"}
    yield {"\ue000": {"\U00010000": 1, "\uffff": 2}, "\U0010ffff": 3}
    yield {"": "".join(map(chr, range(0x100)))}
    # The envelope, its payload and the client's own object are the first three.
    yield {"deep": documents.nested(DEPTH_MAX - 3)}
    while True:
        yield documents.members(seeded, 4)


def requests(seeded):
    """Requests with all defaults filled in, and which of them the client leaves out."""
    made, turns = payloads(seeded), []
    for nth in range(INTENTS + BLOBS):
        request = {
            "actor": documents.identifier(seeded),
            "correlation_id": f"c-{nth}-" + documents.string(seeded, 8, [(0x21, 0x7E)]),
            "declared_refs": [reference(seeded) for _ in range(seeded.choice([0, 0, 1, 3]))],
            "intent_type": seeded.choice(["chat.message", "a:b-c_d.E"]),
            "interface_version": 2,
            "lane": seeded.choice(["user", "0-lane"]),
            "parent_turn_id": None,
            "payload": next(made) if nth < INTENTS else {"large": large(seeded)},
            "stream_id": "default",
            "thread_id": documents.identifier(seeded),
            "turn_id": f"{nth} " + documents.identifier(seeded),
        }
        if turns and seeded.random() < 0.3:
            request["thread_id"], request["parent_turn_id"] = seeded.choice(turns)
        turns.append((request["thread_id"], request["turn_id"]))
        defaults = {"declared_refs": [], "parent_turn_id": None, "stream_id": "default"}
        yield request, {name for name, value in defaults.items() if request[name] == value and seeded.random() < 0.5}


def reference(seeded):
    made = {"ref_id": documents.identifier(seeded), "ref_type": seeded.choice(["document", "external"])}
    return made | ({"version": documents.identifier(seeded)} if seeded.random() < 0.5 else {})


def large(seeded):
    return "".join(documents.string(seeded, 200) for _ in range(ENVELOPE_BYTES_MAX // 80))


def post(client, seeded, request, left_out):
    outer = ("interface_version", "correlation_id")
    inner = {name: value for name, value in request.items() if name not in outer and name not in left_out}
    body = documents.spelled(seeded, {name: request[name] for name in outer} | {"payload": inner})
    observed = {
        "traceparent": f"00-{seeded.getrandbits(128) | 1:032x}-{seeded.getrandbits(64) | 1:016x}-01",
        "x-correlation-id": f"x-{seeded.getrandbits(32)}",
    }
    headers = {name: value for name, value in observed.items() if seeded.random() < 0.3}
    status, answer = client.ask("POST", "/ingress/intent", body.encode(), headers)
    demand(status == 202, f"{status} {answer} for {body}")
    return json.loads(answer)["index"], {name.replace("-", "_"): value for name, value in headers.items()}


def check_intent(client, text, request, observed):
    where = f"index {json.loads(text)['index']}"
    envelope = agreed(text, where)
    payload = envelope["payload"]
    wanted = digest(request)
    demand(payload["request_digest"] == wanted, f"{where}: its request_digest is {wanted} for {request}: {text}")
    for name in (*ANCHORS, "parent_turn_id", "stream_id"):
        demand(envelope[name] == request[name], f"{where}: its {name} is not {request[name]!r}: {text}")
    demand(documents.same(payload["declared_refs"], request["declared_refs"]), f"{where}: other references: {text}")
    demand(payload.get("_obs", {}) == observed, f"{where}: {observed} was sent to be observed: {text}")
    if "$blob" not in payload["payload"]:
        kept = documents.same(payload["payload"], request["payload"])
        demand(kept, f"{where}: {request['payload']} was sent: {text}")
        return 0
    content = rfc8785.dumps(request["payload"])
    blob = {"$blob": digest(request["payload"]), "media_type": "application/json", "size_bytes": len(content)}
    demand(payload["payload"] == blob, f"{where}: its blob is {blob}: {text}")
    stored = client.get(f"/api/blob/sha256/{hashlib.sha256(content).hexdigest()}")
    demand(stored == content, f"{where}: other bytes in its blob")
    return 1


def pages(client):
    """{index: the envelope's text, as it lies in the answers of `GET /events`}."""
    decoder, found, since = json.JSONDecoder(), {}, -1
    while since is not None:
        answer = client.get(f"/events?since={since}&limit=200").decode()
        since, at = json.loads(answer)["next"], len('{"events":[')
        while answer[at] != "]":
            envelope, end = decoder.raw_decode(answer, at)
            found[envelope["index"]] = answer[at:end]
            at = end + (answer[end] == ",")
    return found


def check_refused(client):
    inner = {name: "x" for name in ANCHORS if name != "correlation_id"} | {"payload": {"n": 0}}
    body = json.dumps({"interface_version": 2, "correlation_id": "refused", "payload": inner})
    for spelling in REFUSED:
        try:
            printed = rfc8785.dumps(json.loads(spelling))
        except ValueError:
            printed = None
        demand(printed is None, f"the package prints {spelling} as {printed}")
        status, answer = client.ask("POST", "/ingress/intent", body.replace('"n": 0', f'"n": {spelling}').encode())
        refused = status == 400 and json.loads(answer)["reason_code"] == "INVALID_JSON"
        demand(refused, f"{spelling} is answered with {status} {answer}")


def check_server(port, seed):
    client, seeded = Client(port), random.Random(seed)
    sent = []
    for nth, (request, left_out) in enumerate(requests(seeded)):
        index, observed = post(client, seeded, request, left_out)
        demand(index == nth, f"intent {nth} has index {index}")
        sent.append((request, observed))
    check_refused(client)

    tailed, paged = records(port, "since=-1"), pages(client)
    demand(list(tailed) == list(range(len(sent))), f"the tail has other records than the {len(sent)} that were sent")
    demand(paged == tailed, "GET /events has other texts than the tail")
    blobs = sum(check_intent(client, text.encode(), *sent[index]) for index, text in tailed.items())
    misordered = sum(documents.misordered(request["payload"]) for request, _ in sent)
    demand(blobs >= BLOBS and misordered >= 20, f"too tame: {blobs} blobs, {misordered} telling objects")
    print(f"ok   {len(sent)} intents, {blobs} of them as blobs; {misordered} objects sorted otherwise by code points")
    print(f"ok   {len(REFUSED)} values that both refuse")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gesta", required=True)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    try:
        check_fixtures()
        with tempfile.TemporaryDirectory() as folder:
            server = Gesta(arguments.gesta, folder, [])
            server.start()
            try:
                check_server(server.port, arguments.seed)
            finally:
                server.stop()
    except Disagreement as disagreement:
        raise SystemExit(f"RED  {disagreement}")
    print("rfc8785 prints what Gesta prints, and its digests are the same")


if __name__ == "__main__":
    main()

"""The measures. Each goes in rounds, A B C A B C, because the machine's own speed drifts: a ratio
then compares neighbours in time. Every result is kept; the report takes medians."""

import contextlib
import json
import shutil
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from .process import Failed, call, call_json, free_port, http, running, spawn, stop, wait_for
from .targets import fill
from .tasks import leases, tasks

CONNECTIONS = (1, 64, 256)


@dataclass
class Context:
    """What all measures share."""

    out: Path
    load: Path
    targets: list
    rounds: int
    seconds: float
    records: int
    followers: int
    start_records: int
    start_data: Path | None
    tasks: int
    leases: int
    lease_seconds: int
    results: dict = field(default_factory=dict)
    errors: list = field(default_factory=list)

    def having(self, measure):
        return [target for target in self.targets if measure in target.measures]

    def note(self, measure, name, value):
        self.results.setdefault(measure, {}).setdefault(name, []).append(value)

    @contextlib.contextmanager
    def step(self, what):
        """A step whose failure is reported and does not end the others."""
        try:
            yield
        except (Failed, OSError, ValueError, KeyError) as cause:
            print(f"  {what}: FAILED: {cause}", flush=True)
            self.errors.append(f"{what}: {cause}")

    def append_load(self, target, connections, seconds, *more):
        return call_json(
            [self.load, "append", "--addr", target.address, *target.append_arguments(), "--pid", target.pid,
             "--connections", connections, "--seconds", seconds, "--warmup", min(1.0, seconds / 3), *more],
            seconds + 60,
        )  # fmt: skip

    def disk(self, seconds):
        file = self.out / "data" / "fsync-probe"
        file.parent.mkdir(parents=True, exist_ok=True)
        return call_json([self.load, "fsync-probe", "--file", file, "--seconds", seconds], seconds + 60)


def append(context):
    """Appends a second, one request outstanding on each connection."""
    for number in range(context.rounds):
        for target in context.having("append"):
            with context.step(f"append {target.name}"), running(target, context.out):
                for connections in CONNECTIONS:
                    got = context.append_load(target, connections, context.seconds)
                    context.note("append", f"{target.name}/{connections}", got)
                    print(
                        f"  round {number + 1} {target.name:16} {connections:4} connections"
                        f" {got['per_second']:10,.0f}/s  p50 {got['p50_us']:8.0f} µs  p99 {got['p99_us']:8.0f} µs"
                        f"  server {got['server_cpu'] or 0:.2f} cores, load {got['client_cpu']:.2f}",
                        flush=True,
                    )
                    if got["refused"] or got["lost"]:
                        raise Failed(f"{got['refused']} refused, {got['lost']} lost: {got['first_refusal']}")


def latency(context):
    """Acknowledgement latency, open loop at half of the rate that 64 connections reach."""
    rates = {}
    for number in range(context.rounds):
        for target in context.having("latency"):
            with context.step(f"latency {target.name}"):
                before = context.disk(min(2.0, context.seconds))
                with running(target, context.out):
                    if target.name not in rates:
                        known = context.results.get("append", {}).get(f"{target.name}/64")
                        known = known or [context.append_load(target, 64, context.seconds)]
                        rates[target.name] = statistics.median(run["per_second"] for run in known) / 2
                    rate = f"{rates[target.name]:.0f}"
                    got = context.append_load(target, 64, context.seconds, "--rate", rate)
                after = context.disk(min(2.0, context.seconds))
                got["disk_p99_us"] = (before["p99_us"] + after["p99_us"]) / 2
                got["disk_p50_us"] = (before["p50_us"] + after["p50_us"]) / 2
                context.note("latency", target.name, got)
                print(
                    f"  round {number + 1} {target.name:16} {got['rate']:8,.0f}/s  p50 {got['p50_us']:7.0f} µs"
                    f"  p99 {got['p99_us']:7.0f} µs  p99.9 {got['p999_us']:7.0f} µs"
                    f"  (disk p50 {got['disk_p50_us']:.0f}, p99 {got['disk_p99_us']:.0f} µs;"
                    f" generator late by p99 {got['send_lag_p99_us']:.0f} µs)",
                    flush=True,
                )


def catchup(context):
    """One follower, then eight at once, read the same history from its first record."""
    with contextlib.ExitStack() as stack:
        readers = _filled(context, stack)
        for number in range(context.rounds * 3):
            for target, name, arguments, expected in readers:
                for followers in (1, 8):
                    with context.step(f"catchup {name}"):
                        _catchup_once(context, target, name, arguments, expected, followers, number)


def _filled(context, stack):
    """Starts and fills all targets: (target, name, arguments, bytes that a whole answer has)."""
    readers = []
    targets = sorted(context.having("catchup"), key=lambda target: target.name == "nginx")
    saved = context.out / "data" / "tail.saved"
    saved.unlink(missing_ok=True)
    for target in targets:
        with context.step(f"catchup {target.name}"):
            stack.enter_context(running(target, context.out))
            if target.name == "nginx":
                target.serve(saved if saved.exists() else _synthetic(context))
            else:
                print(f"  filling {target.name} with {context.records:,} intents", flush=True)
                fill(target, context.load, context.records)
            for name, arguments, marker in target.catchups(context.records):
                first = [context.load, "catchup", "--addr", target.address, "--followers", 1, *arguments]
                first += ["--record-marker", marker] if marker else []
                first += ["--save", saved] if target.name == "gesta" else []
                got = call_json(first, 120)
                if marker and got["records_each"] != context.records:
                    raise Failed(f"{name} answers {got['records_each']} of {context.records} records")
                print(f"  {name}: {got['bytes_each'] / context.records:.0f} bytes a record", flush=True)
                readers.append((target, name, arguments, got["bytes_each"]))
    return readers


def _synthetic(context):
    """Without Gesta there is no tail to serve: a file of the same shape stands for it."""
    record = b": g1 000004b0 0000000000000000 " + b"0" * 32 + b"\nid: 0\nevent: envelope\ndata: "
    record += b"x" * (1200 - len(record) - 2) + b"\n\n"
    path = context.out / "data" / "tail.synthetic"
    path.write_bytes(record * context.records)
    return path


def _catchup_once(context, target, name, arguments, expected, followers, number):
    got = call_json(
        [context.load, "catchup", "--addr", target.address, "--followers", followers, *arguments], 120
    )
    # Heartbeats and control events differ from one answer to the next, records do not.
    if abs(got["bytes_each"] - expected) > max(8192, expected // 100):
        raise Failed(f"{name} answered {got['bytes_each']} bytes instead of {expected}")
    got["records_per_second"] = followers * context.records / got["seconds"]
    context.note("catchup", f"{name}/{followers}", got)
    if number % 3 == 0:
        print(
            f"  round {number // 3 + 1} {name:20} {followers} followers"
            f" {got['records_per_second'] / 1e6:6.2f} M records/s {got['bytes_per_second'] / 1e9:6.2f} GB/s",
            flush=True,
        )


def fanout(context):
    """Many live followers and 50 records a second: delivery latency and memory for each follower."""
    seconds = max(context.seconds * 2, 4)
    for number in range(context.rounds):
        for target in context.having("fanout"):
            with context.step(f"fanout {target.name}"), running(target, context.out):
                # A live stream begins at a record, so that "the newest" is one.
                fill(target, context.load, 64)
                got = call_json(
                    [context.load, "fanout", "--addr", target.address, *target.append_arguments(),
                     "--path", target.live_path(), "--followers", context.followers,
                     "--rate", 50, "--seconds", seconds, "--pid", target.pid],
                    seconds + 90,
                )  # fmt: skip
                context.note("fanout", target.name, got)
                print(
                    f"  round {number + 1} {target.name:16} {got['delivered']:,} of {got['expected']:,} delivered"
                    f"  p50 {got['p50_us'] / 1000:.1f} ms  p99 {got['p99_us'] / 1000:.1f} ms"
                    f"  {got['live_kib_each']:.1f} KiB each (idle {got['idle_kib_each']:.1f})"
                    f"  server {got['server_cpu']:.2f} cores",
                    flush=True,
                )
                if got["delivered"] != got["expected"]:
                    raise Failed(f"{got['expected'] - got['delivered']} deliveries are missing, {got['closed']} closed")


def start(context):
    """Time from exec to ready, and memory at ready, with many sealed records. Gesta alone."""
    for target in context.having("start"):
        with context.step("start gesta"):
            data = context.start_data or context.out / "start-data"
            if not data.exists() or not any(data.iterdir()):
                print(f"  generating {context.start_records:,} sealed records", flush=True)
                command = [target.binary, "bench", "generate", "--data", data, "--records", context.start_records]
                call(command, seconds=1800)
            try:
                for number in range(context.rounds):
                    got = _start_once(context, target, data)
                    context.note("start", "gesta", got)
                    print(
                        f"  round {number + 1} gesta ready after {got['seconds']:.3f} s"
                        f" with {got['rss_bytes'] / 1e6:.0f} MB resident, {got['head']:,} records",
                        flush=True,
                    )
            finally:
                if context.start_data is None:
                    shutil.rmtree(data, ignore_errors=True)


def _start_once(context, target, data):
    target.data, target.port = data, free_port()
    begin = time.monotonic()
    process = spawn(target.command(), context.out / "logs" / "gesta-start.log")
    try:
        wait_for("gesta", target.ready, process, seconds=300, pause=0.002)
        seconds = time.monotonic() - begin
        return {"seconds": seconds, "rss_bytes": _resident(process.pid), "head": _head(target)}
    finally:
        stop(process)


def _resident(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise Failed("the kernel names no resident memory")


def _head(target):
    status, text = http("GET", f"{target.url}/status")
    if status != 200:
        raise Failed(f"/status answered {status}")
    return json.loads(text)["head"]


MEASURES = {
    "append": append,
    "latency": latency,
    "catchup": catchup,
    "fanout": fanout,
    "start": start,
    "tasks": tasks,
    "leases": leases,
}

"""The measures of tasks: how fast workers claim and complete them, and what it costs to hold many.

Filling a queue is no part of what is measured: each target's `fill_tasks` returns once all of them wait.
"""

import json
import statistics
from datetime import datetime

from .process import Failed, call_json, http, running

WORKERS = 64


def tasks(context):
    """Pairs of claim and completion a second, 64 workers, one request outstanding for each."""
    for number in range(context.rounds):
        for target in context.having("tasks"):
            with context.step(f"tasks {target.name}"), running(target, context.out):
                target.fill_tasks(context.load, context.tasks)
                got = call_json(
                    [context.load, "tasks", *target.task_arguments(), "--workers", WORKERS, "--pid", target.pid,
                     "--seconds", context.seconds, "--warmup", min(1.0, context.seconds / 3)],
                    context.seconds + 60,
                )  # fmt: skip
                context.note("tasks", f"{target.name}/{WORKERS}", got)
                print(
                    f"  round {number + 1} {target.name:16} {got['per_second']:10,.0f} pairs/s"
                    f"  claim p50 {got['claim_p50_us']:7.0f} µs  p99 {got['claim_p99_us']:7.0f} µs"
                    f"  complete p50 {got['complete_p50_us']:7.0f} µs  p99 {got['complete_p99_us']:7.0f} µs"
                    f"  server {got['server_cpu']:.2f} cores, load {got['client_cpu']:.2f}"
                    + (f"  ({context.tasks:,} tasks lasted {got['seconds']:.1f} s)" if got["dry"] else ""),
                    flush=True,
                )
                if got["refused"]:
                    raise Failed(f"{got['refused']} refused: {got['first_refusal']}")
                target.check_tasks(got)


def leases(context):
    """Many live leases: what a heartbeat costs, memory, and how exactly those left alone expire. Gesta alone."""
    for target in context.having("leases"):
        with context.step(f"leases {target.name}"), running(target, context.out):
            target.register(lease_seconds=context.lease_seconds, heartbeat_seconds=max(1, context.lease_seconds // 4))
            target.fill_tasks(context.load, context.leases)
            names = context.out / "data" / "silent-leases"
            few, silent = max(1, context.leases // 100), max(1, context.leases // 100)
            got = call_json(
                [context.load, "leases", *target.lease_arguments(), "--leases", context.leases, "--few", few,
                 "--silent", silent, "--silent-file", names, "--lease-ms", context.lease_seconds * 1000,
                 "--seconds", context.seconds, "--pid", target.pid],
                context.lease_seconds * 2 + 300,
            )  # fmt: skip
            got |= _expiries(target, names.read_text().split())
            got["growth"] = got["rss_end_bytes"] / got["rss_live_bytes"]
            context.note("leases", target.name, got)
            for part, what in (("few", "answered"), ("many", "answered"), ("held", "due")):
                one = got[part]
                print(
                    f"  {one['leases']:9,} leases {one['per_second']:9,.0f} heartbeats/s as they are {what:8}"
                    f"  p50 {one['p50_us']:7.0f} µs  p99 {one['p99_us']:7.0f} µs"
                    f"  server {one['server_cpu']:.2f} cores, {one['server_us_each']:.0f} µs each",
                    flush=True,
                )
            print(
                f"  {got['claims_per_second']:,.0f} claims/s; resident {got['rss_queued_bytes'] / 1e6:.0f} MB with all"
                f" queued, {got['rss_live_bytes'] / 1e6:.0f} MB with all claimed, {got['rss_end_bytes'] / 1e6:.0f} MB at"
                f" the end; {got['expired']:,} of {got['silent']:,} expired, late by p50"
                f" {got['expiry_late_p50_s'] * 1000:.0f} ms, p99 {got['expiry_late_p99_s'] * 1000:.0f} ms, earliest"
                f" {got['expiry_late_min_s'] * 1000:.0f} ms, latest {got['expiry_late_max_s'] * 1000:.0f} ms",
                flush=True,
            )
            if got["refused"]:
                raise Failed(f"{got['refused']} heartbeats refused: {got['first_refusal']}")
            if got["expired"] != got["silent"] or got["expiry_late_min_s"] < 0:
                raise Failed("a lease that was left alone has not expired, or before its deadline")


def _expiries(target, names):
    """How long behind its recorded deadline each lease's `timed_out` was recorded, in seconds."""
    late = sorted(filter(lambda one: one is not None, (_expiry(target, name) for name in names)))
    if not late:
        raise Failed(f"none of {len(names)} leases has expired")
    return {
        "expired": len(late),
        "expiry_late_min_s": late[0],
        "expiry_late_p50_s": statistics.median(late),
        "expiry_late_p99_s": late[min(len(late) - 1, len(late) * 99 // 100)],
        "expiry_late_max_s": late[-1],
    }


def _expiry(target, name):
    status, text = http("GET", f"{target.url}/events?limit=2000&stream_id=default&subject=task/{name}", target.headers)
    if status != 200:
        raise Failed(f"/events answered {status}: {text}")
    deadline = None
    for record in json.loads(text)["events"]:
        deadline = record["payload"].get("lease_expires_at", deadline)
        if record["kind"] == "TASK" and record["type"] == "timed_out":
            return (_time(record["recorded_at"]) - _time(deadline)).total_seconds()
    return None


def _time(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))

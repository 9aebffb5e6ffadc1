"""Medians, ratios and goals, as a table and as JSON."""

import statistics


def median(results, measure, name, key):
    runs = results.get(measure, {}).get(name)
    return statistics.median(run[key] for run in runs) if runs else None


def spread(results, measure, name, key):
    """Smallest and largest of the rounds."""
    runs = results.get(measure, {}).get(name) or []
    values = [run[key] for run in runs]
    return (min(values), max(values)) if values else None


def rows(results):
    """One row for each comparison: what, Gesta's value, the other's, the quotient, the goal."""
    for other, goals in (
        ("durable-streams", {1: 1.2, 64: 1.2, 256: 1.0}),
        ("axum", {64: 0.75, 256: 0.75}),
        ("redis", {1: 1.0, 64: 1.0, 256: 1.0}),
        ("nats", {}),
    ):
        for connections in (1, 64, 256):
            names = f"gesta/{connections}", f"{other}/{connections}"
            yield row(results, "append", names, "per_second", "appends/s", goals.get(connections))
    for connections, goal in ((1, None), (64, 0.3), (256, 0.3)):
        names = f"gesta-deciding/{connections}", f"gesta/{connections}"
        yield row(results, "append", names, "per_second", "appends/s, deciding", goal)
    for other in ("durable-streams", "redis", "nats"):
        yield row(results, "latency", ("gesta", other), "p99_us", "µs p99 at half rate", None, smaller=True)
    yield disk_row(results)
    for followers in (1, 8):
        for other, key, unit, goal in (
            ("durable-streams", "records_per_second", "records/s", 4.0),
            ("durable-streams-file", "records_per_second", "records/s", None),
            ("nginx", "bytes_per_second", "bytes/s", 0.5),
        ):
            names = f"gesta/{followers}", f"{other}/{followers}"
            yield row(results, "catchup", names, key, unit, goal)
    for other, goal in (("postgresql", 2.0), ("redis", None)):
        yield row(results, "tasks", ("gesta-tasks/64", f"{other}/64"), "per_second", "pairs/s", goal)
    for key, unit, goal in (
        ("p50_us", "µs p50", 1.0), ("p99_us", "µs p99", 1.0), ("live_kib_each", "KiB a follower", None),
    ):  # fmt: skip
        yield row(results, "fanout", ("gesta", "durable-streams"), key, unit, goal, smaller=True)
    yield limit(results, "fanout", "live_kib_each", "KiB a follower", 32)
    yield limit(results, "start", "seconds", "s to ready", 1.0)
    yield limit(results, "start", "rss_bytes", "bytes resident", 300e6)
    yield limit(results, "leases", "expiry_late_max_s", "s from deadline to timed_out", 1.0, name="gesta-tasks")
    yield limit(results, "leases", "growth", "× resident, held to claimed", 1.25, name="gesta-tasks")
    yield beats_row(results, "server_us_each", "µs of a core a heartbeat", 1.5)
    yield beats_row(results, "per_second", "heartbeats/s", None)


def row(results, measure, names, key, unit, goal, smaller=False):
    ours, theirs = (median(results, measure, name, key) for name in names)
    ratio = ours / theirs if ours is not None and theirs else None
    met = None if ratio is None or goal is None else (ratio <= goal if smaller else ratio >= goal)
    what = f"{measure} {names[0].partition('/')[2]}".strip()
    sign = "≤" if smaller else "≥"
    return {
        "measure": what, "unit": unit, "gesta": ours, "other": theirs, "against": names[1].partition("/")[0],
        "gesta_range": spread(results, measure, names[0], key), "other_range": spread(results, measure, names[1], key),
        "ratio": ratio, "goal": None if goal is None else f"{sign} {goal:g} ×", "met": met,
    }  # fmt: skip


def disk_row(results):
    runs = results.get("latency", {}).get("gesta") or []
    ours = statistics.median(run["p99_us"] for run in runs) if runs else None
    bound = statistics.median(2 * run["disk_p99_us"] + 1000 for run in runs) if runs else None
    ratio = ours / bound if bound else None
    return {
        "measure": "latency", "unit": "µs p99 at half rate", "gesta": ours, "other": bound,
        "against": "2 × fdatasync p99 + 1 ms", "gesta_range": spread(results, "latency", "gesta", "p99_us"),
        "other_range": None, "ratio": ratio, "goal": "≤ 1 ×", "met": None if ratio is None else ratio <= 1,
    }  # fmt: skip


def beats_row(results, key, unit, goal):
    """Heartbeats beside many leases and beside few: with a scan, many would cost as much more as they are more."""
    runs = results.get("leases", {}).get("gesta-tasks") or []
    parts = {part: [run[part][key] for run in runs] for part in ("many", "few")}
    many, few = (statistics.median(values) if values else None for values in parts.values())
    ratio = many / few if few else None
    counts = [f"{runs[0][part]['leases']:,}" if runs else part for part in parts]
    return {
        "measure": f"leases {counts[0]}", "unit": unit, "gesta": many, "other": few, "against": f"{counts[1]} leases",
        "gesta_range": None, "other_range": None, "ratio": ratio, "goal": None if goal is None else f"≤ {goal:g} ×",
        "met": None if ratio is None or goal is None else ratio <= goal,
    }  # fmt: skip


def limit(results, measure, key, unit, most, name="gesta"):
    ours = median(results, measure, name, key)
    return {
        "measure": measure, "unit": unit, "gesta": ours, "other": most, "against": "a limit",
        "gesta_range": spread(results, measure, name, key), "other_range": None,
        "ratio": None if ours is None else ours / most, "goal": "≤ 1 ×",
        "met": None if ours is None else ours <= most,
    }  # fmt: skip


def number(value):
    if value is None:
        return "-"
    if abs(value) >= 1e6:
        return f"{value / 1e6:,.2f} M"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def table(all_rows):
    head = ("measure", "unit", "gesta", "other", "against", "ratio", "goal", "")
    lines = [head]
    for one in all_rows:
        verdict = {None: "", True: "met", False: "MISSED"}[one["met"]]
        ratio = "-" if one["ratio"] is None else f"{one['ratio']:.2f}"
        lines.append((
            one["measure"], one["unit"], number(one["gesta"]), number(one["other"]), one["against"], ratio,
            one["goal"] or "", verdict,
        ))  # fmt: skip
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    right = {2, 3, 5}
    return "\n".join(
        "  ".join(
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )

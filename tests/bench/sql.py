"""Questions to a running datasjo beside DuckDB on the same live files: many small files as they were written, then one a
day after maintenance. Medians of repeated questions; starting either is not counted. datasjo answers in JSON over one open
HTTP connection, DuckDB inside the asking process: the first pays for a door, the second has none."""

import pathlib
import signal
import statistics
import time

import duckdb

import bulk
import instance
from measure import emptied, measured, table

REPEATS = 15
QUESTIONS = {
    "a reading by its key": (
        "SELECT flow_l_per_s FROM water_meters WHERE meter_id = 'M00417' AND observed_at = '2026-08-01T17:31:00Z'",
        "SELECT flow_l_per_s FROM {files} WHERE meter_id = 'M00417' AND observed_at = '2026-08-01T17:31:00Z'::TIMESTAMPTZ",
    ),
    "a meter's newest reading": (
        "SELECT max(observed_at) AS newest FROM water_meters WHERE meter_id = 'M00417'",
        "SELECT max(observed_at) AS newest FROM {files} WHERE meter_id = 'M00417'",
    ),
    "hourly sums of all meters": (
        "SELECT date_bin(INTERVAL '1 hour', observed_at) AS hour, sum(flow_l_per_s) FROM water_meters GROUP BY 1 ORDER BY 1",
        "SELECT time_bucket(INTERVAL '1 hour', observed_at) AS hour, sum(flow_l_per_s) FROM {files} GROUP BY 1 ORDER BY 1",
    ),
    "each meter's daily mean": (
        "SELECT meter_id, day, avg(flow_l_per_s) AS flow FROM water_meters GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT meter_id, day, avg(flow_l_per_s) AS flow FROM {files} GROUP BY 1, 2 ORDER BY 1, 2",
    ),
}


def run(args, work: pathlib.Path) -> dict:
    csv = bulk.source(work / "bulk", args.rows)
    directory = instance.configure(emptied(work / "sql"), instance.file_feed())
    lake = directory / "data" / "lake" / "water_meters"
    measured([args.datasjo, "ingest", bulk.FEED, csv, "--json", "--config", directory])
    results = ask_both(args, directory, lake, "fresh")
    measured([args.datasjo, "maintain", "--config", directory])
    results += ask_both(args, directory, lake, "maintained")
    tell(args, results)
    return {"rows": args.rows, "results": results}


def ask_both(args, directory: pathlib.Path, lake: pathlib.Path, state: str) -> list[dict]:
    files = instance.live_files(lake)
    count, size = instance.size(lake)
    duck = duckdb.connect()
    duck.execute("SET TimeZone = 'UTC'")
    running = instance.Instance(args.datasjo, directory)
    results = []
    try:
        for name, (ours, theirs) in QUESTIONS.items():
            theirs = theirs.format(files=f"read_parquet({files!r}, hive_partitioning = true)")
            datasjo_s = median_s(lambda: running.sql(ours))
            duckdb_s = median_s(lambda: duck.execute(theirs).fetchall())
            same = agree(running.sql(ours), duck.execute(theirs).fetchall())
            results.append({
                "state": state,
                "question": name,
                "files": count,
                "bytes": size,
                "datasjo_s": datasjo_s,
                "duckdb_s": duckdb_s,
                "same_answer": same,
            })
        results[-1] |= running.child.finish(signal.SIGTERM)
    finally:
        running.child.kill()
    return results


def agree(ours: list[dict], theirs: list[tuple]) -> bool:
    """As many rows, and numbers with the same sum."""
    total = lambda rows: sum(cell for row in rows for cell in row if isinstance(cell, float))
    a, b = total(row.values() for row in ours), total(theirs)
    return len(ours) == len(theirs) and abs(a - b) <= 1e-6 * max(1.0, abs(b))


def median_s(ask) -> float:
    ask()
    took = []
    for _ in range(REPEATS):
        began = time.monotonic()
        ask()
        took.append(time.monotonic() - began)
    return statistics.median(took)


def tell(args, results: list[dict]) -> None:
    rows = [
        [
            f"{r['question']} ({r['state']}, {r['files']} files)",
            1000 * r["datasjo_s"],
            1000 * r["duckdb_s"],
            r["datasjo_s"] / r["duckdb_s"],
            r["bytes"] / args.rows,
            "yes" if r["same_answer"] else "NO",
        ]
        for r in results
    ]
    columns = ["", "datasjo ms", "DuckDB ms", "x DuckDB", "MB per M rows", "same answer"]
    table(f"sql: over {args.rows:,} rows; median of {REPEATS}", columns, rows)

"""A CSV file of readings, nearly in order, one in a hundred twice: `datasjo ingest` beside DuckDB making the same of it:
each reading once, sorted, by day, Parquet with zstd. Then the files as they are, and after `datasjo maintain`."""

import glob
import json
import pathlib
import sys

import duckdb

import instance
from measure import emptied, measured, size_of, table

METERS = 1000
FEED = "bench"


def run(args, work: pathlib.Path) -> dict:
    home = work / "bulk"
    csv = source(home, args.rows)
    results = [duckdb_job(home, csv), *datasjo(args, home, csv)]
    tell(args, csv, results)
    return {"rows": args.rows, "csv_bytes": csv.stat().st_size, "results": results}


def source(home: pathlib.Path, rows: int) -> pathlib.Path:
    """The file, made once: a reading a minute from each meter, each up to 90 s out of its turn, every hundredth repeated."""
    csv = home / f"readings-{rows}.csv"
    if csv.exists():
        return csv
    home.mkdir(parents=True, exist_ok=True)
    once = rows * 100 // 101
    duckdb.execute("SET enable_progress_bar = false")
    duckdb.execute(f"""
        COPY (
            WITH once AS (
                SELECT i, i // {METERS} AS minute, i % {METERS} AS meter, hash(i) % 90 AS late_s FROM range({once}) r(i)
                UNION ALL
                SELECT i, i // {METERS}, i % {METERS}, 60 + hash(i) % 90 FROM range(0, {once}, 100) r(i)
            )
            SELECT strftime(TIMESTAMP '2026-08-01' + to_minutes(minute), '%Y-%m-%dT%H:%M:%SZ') AS time,
                   format('M{{:05d}}', meter) AS meter,
                   round(5 + 4 * sin(minute / 229.0 + meter) + (hash(i, 1) % 100) / 250.0, 3) AS value
            FROM once ORDER BY minute * 60 + late_s, i
        ) TO '{csv}' (HEADER)
    """)
    return csv


def duckdb_job(home: pathlib.Path, csv: pathlib.Path) -> dict:
    out = emptied(home / "duckdb")
    script = pathlib.Path(__file__).with_name("peer_bulk.py")
    used = measured([sys.executable, script, csv, out])
    used.pop("said")
    files, size = size_of(glob.glob(f"{out}/**/*.parquet", recursive=True))
    return {"name": "DuckDB", **used, "files": files, "bytes": size, "rows": count(f"{out}/**/*.parquet")}


def datasjo(args, home: pathlib.Path, csv: pathlib.Path) -> list[dict]:
    directory = instance.configure(emptied(home / "datasjo"), instance.file_feed())
    lake = directory / "data" / "lake" / "water_meters"
    ingest = measured([args.datasjo, "ingest", FEED, csv, "--json", "--config", directory])
    told = json.loads(ingest.pop("said"))
    fresh = {"name": "datasjo ingest", **ingest, **at_rest(lake), "told": told}
    maintain = measured([args.datasjo, "maintain", "--config", directory])
    maintain.pop("said")
    return [fresh, {"name": "datasjo maintain", **maintain, **at_rest(lake)}]


def at_rest(lake: pathlib.Path) -> dict:
    paths = instance.live_files(lake)
    files, size = size_of(paths)
    return {"files": files, "bytes": size, "rows": count(paths)}


def count(files) -> int:
    return duckdb.execute("SELECT count(*) FROM read_parquet($files)", {"files": files}).fetchone()[0]


def tell(args, csv: pathlib.Path, results: list[dict]) -> None:
    peer = results[0]
    rows = [
        [
            r["name"],
            r["seconds"],
            r["seconds"] / peer["seconds"],
            r["cpu_s"],
            r["cpu_s"] / peer["cpu_s"],
            r["peak_mib"],
            r["peak_mib"] / peer["peak_mib"],
            r["files"],
            r["bytes"] / 1e6 / (r["rows"] / 1e6),
            r["rows"],
        ]
        for r in results
    ]
    columns = ["", "s", "x DuckDB", "CPU-s", "x DuckDB", "peak MiB", "x DuckDB", "files", "MB per M rows", "rows"]
    table(f"bulk: {args.rows:,} CSV rows, {csv.stat().st_size / 1e6:,.0f} MB", columns, rows)

"""Runs the benchmarks: each measures datasjo beside its peers in one run, prints a table and writes JSON."""

import argparse
import datetime
import json
import os
import pathlib
import platform
import shutil
import sys
import tempfile

import bulk
import drain
import live
import sql

BENCHMARKS = {"drain": drain, "live": live, "bulk": bulk, "sql": sql}
ROOT = pathlib.Path(__file__).resolve().parents[2]


def find_datasjo() -> pathlib.Path:
    for profile in ("release", "debug"):
        binary = ROOT / "target" / profile / "datasjo"
        if binary.exists():
            return binary
    sys.exit("there is no datasjo under target/: build it with cargo build --release, or name it with --datasjo")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(BENCHMARKS)}; all if none is named")
    parser.add_argument("--datasjo", type=pathlib.Path, help="the binary; default: target/release, else target/debug")
    parser.add_argument("--messages", type=int, default=300_000, help="drain: messages in the queue (300,000)")
    parser.add_argument("--persistence", action="store_true", help="drain: the broker keeps its queues on disk too")
    parser.add_argument("--receive-maximum", type=int, default=1000, help="drain: messages under way to datasjo (1,000)")
    parser.add_argument("--rate", type=int, default=2000, help="live: messages a second (2,000)")
    parser.add_argument("--seconds", type=int, default=30, help="live: how long (30)")
    parser.add_argument("--rows", type=int, default=2_000_000, help="bulk, sql: rows of the CSV file (2,000,000)")
    parser.add_argument("--work", type=pathlib.Path, help="where data is kept until the next run; default: nowhere")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "target" / "bench", help="where the JSON goes")
    args = parser.parse_args()
    unknown = [name for name in args.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]}; there are {', '.join(BENCHMARKS)}")
    args.names = args.names or list(BENCHMARKS)
    args.datasjo = (args.datasjo or find_datasjo()).resolve()
    return args


def machine() -> dict:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "kernel": platform.release(),
        "load_before": os.getloadavg()[0],
        "at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def main() -> None:
    args = arguments()
    work = args.work or pathlib.Path(tempfile.mkdtemp(prefix="datasjo-bench-"))
    work.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        for name in args.names:
            before = machine()
            report = BENCHMARKS[name].run(args, work)
            print()
            path = args.out / f"{name}.json"
            path.write_text(json.dumps({"benchmark": name, "machine": before, **report}, indent=2) + "\n")
    finally:
        if args.work is None:
            shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()

"""A queue of QoS 1 readings, drained from three equal sessions of one broker: by a subscriber that only acknowledges, by the
Python service, and by datasjo, which syncs its journal before it acknowledges and looks for duplicates."""

import pathlib
import signal
import subprocess
import sys
import time

import duckdb

import instance
import readings
from measure import Child, emptied, table
from mosquitto import Broker

FILE_LINES = 60_000


def run(args, work: pathlib.Path) -> dict:
    home = emptied(work / "drain")
    broker = Broker(home, args.persistence)
    try:
        fill(broker, home, args.messages)
        results = [
            measure("acknowledge only", broker, lambda: acknowledge(broker, args.messages)),
            measure("Python service", broker, lambda: python_service(broker, home, args.messages)),
            measure("datasjo", broker, lambda: datasjo(broker, home, args)),
        ]
    finally:
        broker.stop()
    tell(args, results)
    return {
        "messages": args.messages,
        "broker_persistence": args.persistence,
        "receive_maximum": args.receive_maximum,
        "results": results,
    }


def fill(broker: Broker, home: pathlib.Path, messages: int) -> None:
    broker.session("ack-only", readings.TOPIC, "mqttv311")
    broker.session("service", readings.TOPIC, "mqttv311")
    broker.session("datasjo", readings.TOPIC, "mqttv5")
    files = []
    for first in range(0, messages, FILE_LINES):
        files.append(home / f"readings-{first}.jsonl")
        readings.write(files[-1], first, min(first + FILE_LINES, messages))
    broker.publish(readings.TOPIC, files)


def measure(name: str, broker: Broker, drain) -> dict:
    broker_cpu = broker.cpu_seconds()
    result = drain()
    return {"name": name, **result, "broker_cpu_s": broker.cpu_seconds() - broker_cpu}


def acknowledge(broker: Broker, messages: int) -> dict:
    words = ["mosquitto_sub", "-p", broker.port, "-V", "mqttv311", "-q", 1, "-c", "-i", "ack-only"]
    words += ["-t", readings.TOPIC, "-C", messages, "-F", "."]
    words = [str(word) for word in words]
    child = Child(["sh", "-c", 'exec "$@" > /dev/null', "sh", *words])
    used = child.finish()
    used.pop("said")
    return {**used, "drained_s": used["seconds"]}


def python_service(broker: Broker, home: pathlib.Path, messages: int) -> dict:
    lake = home / "service-table"
    script = pathlib.Path(__file__).with_name("peer_service.py")
    words = [sys.executable, script, "--port", broker.port, "--client-id", "service", "--topic", readings.TOPIC]
    child = Child([*words, "--table", lake, "--messages", messages], stdin=subprocess.PIPE)
    try:
        child.wait_line("ready")
        child.begin()
        child.wait_line("done")
        drained_s = child.elapsed()
        child.process.stdin.close()
        used = child.finish()
    finally:
        child.kill()
    used.pop("said")
    return {**used, "drained_s": drained_s, **held(lake, messages)}


def datasjo(broker: Broker, home: pathlib.Path, args) -> dict:
    feed = instance.mqtt_feed(broker.port, readings.TOPIC, "datasjo", args.receive_maximum)
    directory = instance.configure(home / "datasjo", feed)
    running = instance.Instance(args.datasjo, directory)
    try:
        while (rows := running.metrics()["rows_total"]) < args.messages:
            if running.child.elapsed() > 60 + args.messages / 1000:
                raise RuntimeError(f"datasjo has shown {rows:.0f} of {args.messages} rows")
            time.sleep(0.05)
        drained_s = running.child.elapsed()
        used = running.child.finish(signal.SIGTERM)
    finally:
        running.child.kill()
    used.pop("said")
    return {**used, "drained_s": drained_s, **held(directory / "data" / "lake" / "water_meters", args.messages)}


def held(lake: pathlib.Path, messages: int) -> dict:
    """What the table holds: readings that are missing, readings that are there twice, files, bytes."""
    files = instance.live_files(lake)
    query = "SELECT count(*), count(DISTINCT (meter_id, observed_at)) FROM read_parquet($files)"
    rows, readings_held = duckdb.execute(query, {"files": files}).fetchone()
    count, size = instance.size(lake)
    return {"lost": messages - readings_held, "doubled": rows - readings_held, "files": count, "bytes": size}


def tell(args, results: list[dict]) -> None:
    millions = args.messages / 1e6
    ceiling, service = results[0], results[1]
    rows = []
    for r in results:
        rows.append([
            r["name"],
            args.messages / r["drained_s"],
            args.messages / r["seconds"],
            ceiling["drained_s"] / r["drained_s"],
            r["cpu_s"] / millions,
            service["cpu_s"] / r["cpu_s"],
            r["broker_cpu_s"] / millions,
            r["peak_mib"],
            r["bytes"] / 1e6 / millions if "bytes" in r else None,
            f"{r['lost']} / {r['doubled']}" if "lost" in r else None,
        ])
    columns = ["", "msg/s", "with last commit", "of ceiling", "CPU-s per M", "per CPU-s, x service", "broker CPU-s per M"]
    columns += ["peak MiB", "MB per M", "lost / doubled"]
    table(f"drain: {args.messages:,} messages of about 200 bytes, QoS 1", columns, rows)

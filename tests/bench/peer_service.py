"""The peer: what a good Python programmer would write with paho, pyarrow and deltalake.

Messages are gathered, parsed with orjson, appended to a Delta table by day, and acknowledged after the commit. It looks
for no duplicates, and deltalake syncs nothing to disk. Prints `ready` before it connects, a JSON line for every commit, and
`done` when `--messages` are committed; then it waits for the end of its standard input.
"""

import argparse
import datetime
import json
import queue
import sys
import time

import orjson
import paho.mqtt.client as mqtt
import pyarrow as pa
from deltalake import write_deltalake

UTC_US = pa.timestamp("us", tz="UTC")
TEXTS = ["zone", "serial", "status"]
NUMBERS = ["flow_l_per_s", "register_m3", "pressure_m"]
MOST_ROWS = 50_000


def rows(payloads: list[bytes]) -> pa.Table:
    documents = [orjson.loads(payload) for payload in payloads]
    times = [datetime.datetime.fromisoformat(d["ts"]) for d in documents]
    columns = {"meter_id": pa.array([d["meter"] for d in documents]), "observed_at": pa.array(times, UTC_US)}
    columns |= {name: pa.array([d[name] for d in documents], pa.string()) for name in TEXTS}
    columns |= {name: pa.array([d[name] for d in documents], pa.float64()) for name in NUMBERS}
    columns["day"] = pa.array([t.date() for t in times], pa.date32())
    return pa.table(columns)


def gather(inbox: queue.SimpleQueue, every_s: float) -> list:
    """What comes within `every_s`, at most MOST_ROWS."""
    batch = []
    until = time.monotonic() + every_s
    while len(batch) < MOST_ROWS and (left := until - time.monotonic()) > 0:
        try:
            batch.append(inbox.get(timeout=left))
        except queue.Empty:
            break
    return batch


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--client-id", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--table", required=True)
    parser.add_argument("--messages", type=int, required=True)
    parser.add_argument("--every-s", type=float, default=1.0)
    args = parser.parse_args()

    inbox = queue.SimpleQueue()
    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2, client_id=args.client_id, clean_session=False, manual_ack=True
    )
    client.on_message = lambda _client, _data, message: inbox.put(message)
    client.on_connect = lambda client, *_: client.subscribe(args.topic, qos=1)
    print("ready", flush=True)
    client.connect("127.0.0.1", args.port)
    client.loop_start()
    committed = 0
    while committed < args.messages:
        batch = gather(inbox, args.every_s)
        if not batch:
            continue
        table = rows([message.payload for message in batch])
        write_deltalake(args.table, table, mode="append", partition_by=["day"])
        at = time.monotonic()
        for message in batch:
            client.ack(message.mid, message.qos)
        committed += len(batch)
        newest = max(table.column("register_m3").to_pylist())
        print(json.dumps({"at": at, "newest": newest, "committed": committed}), flush=True)
    print("done", flush=True)
    sys.stdin.read()
    client.disconnect()
    client.loop_stop()


if __name__ == "__main__":
    main()

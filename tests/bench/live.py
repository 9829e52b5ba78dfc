"""Freshness: from publishing a reading to the first SQL answer that holds it, at a steady rate."""

import json
import pathlib
import signal
import subprocess
import sys
import threading
import time

import instance
import readings
from measure import Child, emptied, percentile, table
from mosquitto import Broker


def run(args, work: pathlib.Path) -> dict:
    home = emptied(work / "live")
    broker = Broker(home)
    try:
        broker.session("service", readings.TOPIC, "mqttv311")
        results = [service(broker, home, args)]
        broker.session("datasjo", readings.TOPIC, "mqttv5")
        results.append(datasjo(broker, home, args))
    finally:
        broker.stop()
    tell(args, results)
    return {"rate": args.rate, "seconds": args.seconds, "results": results}


def publish(broker: Broker, home: pathlib.Path, args) -> list[float]:
    """Publishes at the rate; the monotonic second at which each reading was sent."""
    sent = home / "sent.txt"
    script = pathlib.Path(__file__).with_name("steady_publisher.py")
    words = [sys.executable, script, broker.port, readings.TOPIC, args.rate, args.rate * args.seconds, sent]
    subprocess.run([str(word) for word in words], check=True)
    return [float(line) for line in sent.read_text().split()]


def service(broker: Broker, home: pathlib.Path, args) -> dict:
    """The peer's freshness is that of its commits: nobody's time to read them is in it."""
    messages = args.rate * args.seconds
    script = pathlib.Path(__file__).with_name("peer_service.py")
    words = [sys.executable, script, "--port", broker.port, "--client-id", "service", "--topic", readings.TOPIC]
    child = Child([*words, "--table", home / "service-table", "--messages", messages], stdin=subprocess.PIPE)
    try:
        child.wait_line("ready")
        child.begin()
        sent = publish(broker, home, args)
        child.process.stdin.close()
        used = child.finish()
    finally:
        child.kill()
    commits = [json.loads(line) for line in used.pop("said").splitlines() if line.startswith("{")]
    seen = [(commit["at"], commit["newest"]) for commit in commits]
    return {"name": "Python service", **used, **delays(sent, seen), "poll_ms": None, "poll_p99_ms": None}


def datasjo(broker: Broker, home: pathlib.Path, args) -> dict:
    feed = instance.mqtt_feed(broker.port, readings.TOPIC, "datasjo", args.receive_maximum)
    running = instance.Instance(args.datasjo, instance.configure(home / "datasjo", feed))
    poller = Poller(running, args.rate * args.seconds - 1)
    try:
        poller.start()
        sent = publish(broker, home, args)
        poller.join(timeout=60)
        used = running.child.finish(signal.SIGTERM)
    finally:
        poller.give_up = True
        running.child.kill()
    used.pop("said")
    seen = [(answered, newest) for _, answered, newest in poller.answers if newest is not None]
    took = [answered - asked for asked, answered, _ in poller.answers]
    return {
        "name": "datasjo",
        **used,
        **delays(sent, seen),
        "poll_ms": 1000 * percentile(took, 0.5),
        "poll_p99_ms": 1000 * percentile(took, 0.99),
    }


class Poller(threading.Thread):
    """Asks for the newest reading without pause, over one connection."""

    def __init__(self, running: instance.Instance, last: int):
        super().__init__(daemon=True)
        self.running, self.last, self.answers, self.give_up = running, last, [], False

    def run(self) -> None:
        newest = None
        while not self.give_up and (newest is None or newest < self.last):
            asked = time.monotonic()
            newest = self.running.sql("SELECT max(register_m3) AS newest FROM water_meters")[0].get("newest")
            self.answers.append((asked, time.monotonic(), newest))


def delays(sent: list[float], seen: list[tuple[float, float]]) -> dict:
    """For each reading the time from `sent` to the first sight of it or of a later one."""
    found = []
    number = 0
    for at, newest in seen:
        while number <= newest and number < len(sent):
            found.append(at - sent[number])
            number += 1
    return {
        "never_seen": len(sent) - len(found),
        "p50_ms": 1000 * percentile(found, 0.5),
        "p99_ms": 1000 * percentile(found, 0.99),
        "max_ms": 1000 * max(found),
    }


def tell(args, results: list[dict]) -> None:
    service = results[0]
    columns = ["", "p50 ms", "p99 ms", "max ms", "p99, x service", "never seen", "poller's own ms, p50", "p99"]
    columns += ["CPU-s", "peak MiB"]
    rows = [
        [
            r["name"],
            r["p50_ms"],
            r["p99_ms"],
            r["max_ms"],
            r["p99_ms"] / service["p99_ms"],
            r["never_seen"],
            r["poll_ms"],
            r["poll_p99_ms"],
            r["cpu_s"],
            r["peak_mib"],
        ]
        for r in results
    ]
    table(f"live: {args.rate:,} readings a second for {args.seconds} s, published to visible", columns, rows)
    print("The service's figures end with its commit; datasjo's end with the answer of a poller and hold its own time.")

"""A mosquitto of our own on a free port, and fast publishers for it."""

import os
import pathlib
import socket
import subprocess
import time

from measure import cpu_seconds


class Broker:
    def __init__(self, work: pathlib.Path, persistence: bool = False):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        lines = [
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous true",
            "max_inflight_messages 0",
            "max_queued_messages 0",
            "log_type error",
            f"persistence {'true' if persistence else 'false'}",
            f"persistence_location {work}/",
        ]
        if os.getuid() == 0:
            lines.append("user root")
        config = work / "mosquitto.conf"
        config.write_text("\n".join(lines) + "\n")
        self.process = subprocess.Popen(["mosquitto", "-c", str(config)])
        self.wait_until_up()

    def wait_until_up(self) -> None:
        for _ in range(200):
            with socket.socket() as line:
                if line.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError("mosquitto does not answer")

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.process.pid)

    def session(self, client_id: str, topic: str, version: str) -> None:
        """Makes a persistent session that gathers what comes under `topic`."""
        words = ["mosquitto_sub", "-p", self.port, "-V", version, "-q", 1, "-c", "-i", client_id, "-t", topic, "-E"]
        if version == "mqttv5":
            words += ["-x", 86400]
        subprocess.run([str(word) for word in words], check=True)

    def publish(self, topic: str, files) -> None:
        """Publishes files of lines with QoS 1, a process for each."""
        words = ["mosquitto_pub", "-p", str(self.port), "-q", "1", "-M", "1000", "-t", topic, "-l"]
        publishers = [subprocess.Popen(words, stdin=open(path)) for path in files]
        if any(publisher.wait() for publisher in publishers):
            raise RuntimeError("a publisher failed")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

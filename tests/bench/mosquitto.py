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
            # As many as there are packet identifiers. 0 means no limit, and then identifiers are given twice.
            "max_inflight_messages 65535",
            "max_queued_messages 0",
            "log_type error",
            f"persistence {'true' if persistence else 'false'}",
            f"persistence_location {work}/",
        ]
        if os.getuid() == 0:
            lines.append("user root")
        config = work / "mosquitto.conf"
        config.write_text("\n".join(lines) + "\n")
        self.process = subprocess.Popen(["mosquitto", "-c", str(config)], stderr=subprocess.DEVNULL)
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
        """Publishes files of lines with QoS 1, a process for each, one after the other.

        None may have more than 65,535 lines: mosquitto_pub ends when the last packet identifier it gave is acknowledged, which
        may be an earlier message's.
        """
        words = ["mosquitto_pub", "-p", str(self.port), "-q", "1", "-M", "1000", "-t", topic, "-l"]
        for path in files:
            with open(path) as lines:
                subprocess.run(words, stdin=lines, check=True)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

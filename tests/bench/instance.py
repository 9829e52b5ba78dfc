"""A datasjo instance: its configuration, its doors and what it has written."""

import http.client
import json
import pathlib
import urllib.parse

from deltalake import DeltaTable

from measure import Child, size_of

COLUMNS = """
meter_id = "meter"
observed_at = "ts"
zone_id = "zone"
flow_l_per_s = "flow_l_per_s"
register_m3 = "register_m3"
pressure_m = "pressure_m"
serial = "serial"
status = "status"
"""


def configure(directory: pathlib.Path, feed: str) -> pathlib.Path:
    (directory / "feeds").mkdir(parents=True, exist_ok=True)
    (directory / "incoming").mkdir(exist_ok=True)
    (directory / "datasjo.toml").write_text('[sql]\nlisten = "127.0.0.1:0"\n')
    (directory / "feeds" / "bench.toml").write_text(feed)
    return directory


def mqtt_feed(port: int, topic: str, client_id: str, receive_maximum: int) -> str:
    return f"""dataset = "water_meters"
[source]
kind = "mqtt"
url = "mqtt://127.0.0.1:{port}"
topics = ["{topic}"]
client_id = "{client_id}"
receive_maximum = {receive_maximum}
[decode]
format = "json"
[decode.columns]
{COLUMNS}"""


def file_feed() -> str:
    return """dataset = "water_meters"
[source]
kind = "file"
path = "incoming"
watch = true
header_lines = 1
[decode]
format = "csv"
[decode.columns]
meter_id = "meter"
observed_at = "time"
flow_l_per_s = "value"
"""


class Instance:
    """`datasjo run`, measured from the moment it is ready."""

    def __init__(self, binary: pathlib.Path, directory: pathlib.Path):
        self.child = Child([binary, "run", "--config", directory])
        ready = self.child.wait_line("ready ")
        self.child.begin()
        self.url = dict(word.split("=", 1) for word in ready.split()[1:])["sql"]
        self.door = http.client.HTTPConnection(urllib.parse.urlsplit(self.url).netloc, timeout=120)

    def sql(self, query: str) -> list[dict]:
        self.door.request("POST", "/v1/sql?format=json", body=query)
        answer = self.door.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(body.decode())
        return json.loads(body)

    def metrics(self) -> dict[str, float]:
        self.door.request("GET", "/metrics")
        lines = self.door.getresponse().read().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name.split("{")[0].removeprefix("datasjo_"): float(value) for name, value in pairs}


def live_files(table: pathlib.Path) -> list[str]:
    """The files the newest version of a Delta table refers to."""
    return [uri.removeprefix("file://") for uri in DeltaTable(str(table)).file_uris()]


def size(table: pathlib.Path) -> tuple[int, int]:
    return size_of(live_files(table))

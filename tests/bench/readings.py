"""Water readings of about 200 bytes, unique by meter and time, each meter's in the order of time."""

import datetime

START = datetime.datetime(2026, 8, 1, tzinfo=datetime.timezone.utc)
METERS = 1000
TOPIC = "bench/readings"


def reading(number: int, at: str) -> str:
    """Reading `number` of the whole run: `register_m3` is the number, so that it can be found again."""
    meter = number % METERS
    flow = (number * 7919 % 5000) / 1000
    pressure = 35 + (number * 104729 % 1000) / 100
    return (
        f'{{"meter":"M{meter:05}","ts":"{at}","zone":"Z{meter % 40:03}","flow_l_per_s":{flow:.3f},"register_m3":{number},'
        f'"pressure_m":{pressure:.2f},"serial":"{68310000 + meter}","status":"OK","battery_v":3.58,"rssi_dbm":-87}}'
    )


def minute(number: int) -> str:
    """The time of reading `number` when every meter sends once a minute."""
    at = START + datetime.timedelta(minutes=number // METERS)
    return at.strftime("%Y-%m-%dT%H:%M:00Z")


def write(path, first: int, last: int) -> None:
    """A file with readings `first` to `last`, without `last`, one a line."""
    with open(path, "w") as out:
        for number in range(first, last):
            out.write(reading(number, minute(number)) + "\n")

"""Publishes readings with QoS 1 at a steady rate and writes down when each one was handed to the socket's queue."""

import datetime
import sys
import time

import paho.mqtt.client as mqtt

import readings

TICK_S = 0.005


def main() -> None:
    port, topic, rate, messages, out = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(65_535)
    client.connect("127.0.0.1", port)
    client.loop_start()
    sent = []
    began = time.monotonic()
    while len(sent) < messages:
        due = min(messages, int((time.monotonic() - began) * rate))
        while len(sent) < due:
            at = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            payload = readings.reading(len(sent), at)
            sent.append(time.monotonic())
            last = client.publish(topic, payload, qos=1)
        time.sleep(TICK_S)
    last.wait_for_publish(60)
    client.disconnect()
    client.loop_stop()
    with open(out, "w") as file:
        file.write("\n".join(repr(at) for at in sent))


if __name__ == "__main__":
    main()

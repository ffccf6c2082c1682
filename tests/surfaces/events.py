"""Follows an event stream with httpx-sse through kills of the service, and misses and repeats nothing.

events.py URL TICKS RETURNS
"""

import sys
import time

import httpx
import httpx_sse

url, ticks, returns = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
channels = ["ticks:USD/COP", "bars.5m:USD/COP"]
last_id, retry = "", 1.0
last: dict[str, int] = {}
counted = {channel: 0 for channel in channels}
came_back = connected = 0
until = time.monotonic() + 120


def take(sse: httpx_sse.ServerSentEvent) -> None:
    global came_back
    said = sse.json()
    if sse.event == "subscribed":
        for answer in said["channels"]:
            channel = answer["channel"]
            if channel in last:
                assert answer["recovered"] is True, answer
                assert answer["seq"] - answer["replayed"] == last[channel], (answer, last)
            else:
                last[channel] = answer["seq"]
        came_back += connected > 1
        return
    assert sse.event == said["type"], said
    channel, seq = said.get("channel"), said.get("seq")
    if sse.event in ("snapshot", "replay_end") or channel not in last or seq is None:
        return
    assert said.get("from", seq) == last[channel] + 1, (said, last)
    last[channel] = seq
    counted[channel] += 1
    assert f"{channel}@" in sse.id and f".{seq}" in sse.id, sse


def done() -> bool:
    return came_back >= returns and counted[channels[0]] >= ticks and counted[channels[1]] > 0


with httpx.Client(timeout=20) as client:
    while not done():
        assert time.monotonic() < until, (counted, came_back)
        try:
            headers = {"Last-Event-ID": last_id} if last_id else {}
            asked = {"channels": ",".join(channels)}
            with httpx_sse.connect_sse(client, "GET", f"{url}/sse", params=asked, headers=headers) as source:
                source.response.raise_for_status()
                connected += 1
                for event in source.iter_sse():
                    last_id = event.id or last_id
                    retry = event.retry / 1000 if event.retry else retry
                    take(event)
                    if event.event == "bar":
                        print("bar", event.data[:60], flush=True)
                    if done():
                        break
        except httpx.TransportError as error:
            print("away:", repr(error), flush=True)
        if not done():
            time.sleep(retry)
print(counted, came_back, flush=True)
print("ok")

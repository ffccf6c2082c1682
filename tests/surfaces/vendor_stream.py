"""The vendor's official client, unchanged, is told the same by the vendor and by a service that reads it, and comes back to the
service after a restart.

vendor_stream.py VENDOR_URL VENDOR_WS TD_URL TD_WS

Prints "same" when both have told the same: whoever reads it restarts the service. Prints "ok" when prices come again.
"""

import json
import sys
import time

from twelvedata import TDClient

PATIENCE_S = 25
PRICES = 25


def wait(what, condition):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise SystemExit(f"waited {PATIENCE_S} s for {what}: {vendor.texts[-5:]} and {ours.texts[-5:]}")


class Stream:
    """One client, and what it was told as text, member for member."""

    def __init__(self, rest_url, url):
        self.texts = []
        self.client = TDClient(apikey="any", base_url=rest_url, self_heal_time_s=0.2).websocket(
            on_event=lambda event: self.texts.append(json.dumps(event)), log_level="info"
        )
        self.client.url = f"{url}?apikey=any"
        self.client.connect()
        wait_ready(self.client)

    def prices(self):
        return [text for text in list(self.texts) if json.loads(text)["event"] == "price"]

    def answers(self):
        return [text for text in list(self.texts) if json.loads(text)["event"] != "price"]


def wait_ready(client):
    deadline = time.monotonic() + PATIENCE_S
    while not client.ready:
        if time.monotonic() > deadline:
            raise SystemExit(f"no connection to {client.url}")
        time.sleep(0.05)


def in_order(theirs, mine):
    """Whether ours is a stretch of theirs without a hole."""
    return any(theirs[at : at + len(mine)] == mine for at in range(len(theirs) - len(mine) + 1))


def same_prices(after):
    """The next prices of ours after the first `after` are the vendor's, none left out."""
    mine = wait("prices", lambda: len(ours.prices()) >= after + PRICES and ours.prices()[after : after + PRICES])
    wait("the same prices from the vendor", lambda: in_order(vendor.prices(), mine))


ours, vendor = Stream(*sys.argv[3:5]), Stream(*sys.argv[1:3])  # ours first: the first client of a process asks for more
both = (vendor, ours)
for stream in both:
    stream.client.subscribe("USD/COP")
wait("the first answers", lambda: all(len(stream.answers()) == 1 for stream in both))
wait("the first prices", lambda: all(len(stream.prices()) >= 5 for stream in both))
same_prices(len(ours.prices()))

for say in (
    lambda client: client.subscribe("GBP/JPY"),
    lambda client: client.heartbeat(),
    lambda client: client.unsubscribe("GBP/JPY"),
    lambda client: client.ws.send("{}"),
    lambda client: client.ws.send('{"action": "login"}'),
    lambda client: client.ws.send('{"action": "reset"}'),
    lambda client: client.ws.send('{"action": "subscribe", "params": {"symbols": [{"symbol": "USD/COP"}, "X"]}}'),
):
    told = len(ours.answers())
    for stream in both:
        say(stream.client)
    wait("an answer", lambda: all(len(stream.answers()) == told + 1 for stream in both))
assert vendor.answers() == ours.answers(), (vendor.answers(), ours.answers())
assert len(set(ours.answers())) == 7, ours.answers()
same_prices(len(ours.prices()))
print("same", flush=True)

answers = len(ours.answers())
wait("the client to come back", lambda: len(ours.answers()) > answers)
assert ours.answers()[answers] == ours.answers()[0], "it subscribes again"
assert len(vendor.answers()) == answers, "the vendor's own stream went on"
same_prices(len(ours.prices()))
print("ok", flush=True)

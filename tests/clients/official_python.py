"""The vendor's official Python client, unchanged, against a server that claims to be the vendor.

Usage: official_python.py WS_URL REST_URL KEY

The server must serve USD/COP and EUR/USD, know only KEY, and reset the connection at the third heartbeat. Prints one line
a check and exits with 1 when one fails.
"""

import queue
import sys
import time

from twelvedata import TDClient
from twelvedata.exceptions import BadRequestError, InvalidApiKeyError, TwelveDataError

WS_URL, REST_URL, KEY = sys.argv[1:4]
PATIENCE_S = 30
failed = []


def check(what, holds, seen=None):
    print(f"{'ok  ' if holds else 'FAIL'} {what}" + ("" if holds else f": {seen!r}"), flush=True)
    if not holds:
        failed.append(what)


def check_raises(what, kind, ask):
    try:
        check(what, False, ask())
    except kind as error:
        check(what, True)
        return error
    except Exception as error:  # the point is to show which one came instead
        check(what, False, error)
    return None


def check_rest():
    client = TDClient(apikey=KEY, base_url=REST_URL)
    bars = client.time_series(symbol="USD/COP", interval="5min", outputsize=3, timezone="UTC").as_json()
    check("time_series gives three bars, newest first", len(bars) == 3 and bars[0]["datetime"] > bars[2]["datetime"], bars)
    check("prices are texts that are numbers", all(float(bar[name]) > 1000 for bar in bars for name in ("open", "high", "low", "close")), bars)
    table = [tuple(row) for row in client.time_series(symbol="USD/COP", interval="1h", outputsize=2).as_csv()]
    check("time_series gives CSV", table[0] == ("datetime", "open", "high", "low", "close") and len(table) == 3, table)
    batch = client.time_series(symbol="USD/COP,EUR/USD", interval="5min", outputsize=1).as_json()
    check("a batch is keyed by symbol", set(batch) == {"USD/COP", "EUR/USD"}, batch)
    check("price is a number", float(client.price(symbol="USD/COP").as_json()["price"]) > 1000)
    error = check_raises("an unknown symbol is an error", TwelveDataError, lambda: client.price(symbol="XXX/YYY").as_json())
    check("it names the parameter", error is not None and "symbol" in str(error), error)
    check_raises(
        "a senseless interval is a bad request", BadRequestError,
        lambda: client.time_series(symbol="USD/COP", interval="7min").as_json(),
    )
    usage = client.api_usage().as_json()
    check("api_usage counts what was used", usage["current_usage"] >= 7 and usage["plan_limit"] == 55, usage)
    stranger = TDClient(apikey="nonsense", base_url=REST_URL)
    check_raises("a wrong key is refused", InvalidApiKeyError, lambda: stranger.price(symbol="USD/COP").as_json())


class Events:
    """What the client handed to its user."""

    def __init__(self):
        self.events = queue.Queue()

    def wait(self, what, wanted):
        seen, deadline = [], time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                event = self.events.get(timeout=0.2)
            except queue.Empty:
                continue
            seen.append(event)
            if wanted(event):
                check(what, True)
                return event
        check(what, False, seen[-5:])
        return {}


def check_stream():
    events = Events()
    stream = TDClient(apikey=KEY, base_url=REST_URL, self_heal_time_s=0.2).websocket(on_event=events.events.put)
    stream.url = f"{WS_URL}?apikey={KEY}"
    stream.subscribe(["USD/COP", "GBP/JPY"])
    stream.connect()
    status = events.wait("a subscribe is answered", lambda event: event["event"] == "subscribe-status")
    check("half of it worked: warning", status.get("status") == "warning", status)
    check("the lists say which", [item["symbol"] for item in status["success"]] == ["USD/COP"] and status["fails"] == [{"symbol": "GBP/JPY"}], status)
    price = events.wait("prices come", lambda event: event["event"] == "price")
    check("a price is a number with a stamp", isinstance(price["price"], float) and isinstance(price["timestamp"], int), price)
    stream.heartbeat()
    events.wait("a heartbeat is answered", lambda event: event == {"event": "heartbeat", "status": "ok"})
    stream.unsubscribe("GBP/JPY")
    events.wait("an unsubscribe is answered", lambda event: event["event"] == "unsubscribe-status")
    stream.subscribe("EUR/USD")
    events.wait("a second pair comes too", lambda event: event.get("symbol") == "EUR/USD")
    stream.heartbeat()
    stream.heartbeat()  # the third: the server resets the connection
    events.wait("after a reset the client comes back and is answered", lambda event: event["event"] == "subscribe-status")
    events.wait("prices come again", lambda event: event["event"] == "price")
    stream.reset()
    events.wait("a reset is answered", lambda event: event == {"event": "reset-status", "status": "ok"})
    stream.ws.send("{}")
    error = events.wait("nonsense is answered with an error", lambda event: event["event"] == "message-processing")
    check("the error has messages", error.get("status") == "error" and isinstance(error.get("messages"), list), error)
    stream.disconnect()


check_rest()
check_stream()
print(f"{len(failed)} failed", flush=True)
sys.exit(1 if failed else 0)

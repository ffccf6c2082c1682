"""A notebook: a month of bars and a live tail in three lines, and ticks, while the service is killed. All of it is compared with the
vendor's record: its bars by REST, and every price that it sent.

usage: notebook.py VENDOR_URL VENDOR_WS        CANDELA_URL says where the service is

Prints "month", then a line for each table of the tail. Whoever reads it kills and restarts the service, and then closes standard input.
"""

import datetime as dt
import itertools
import json
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from zoneinfo import ZoneInfo

import candela
from websockets.sync.client import connect

VENDOR_URL, VENDOR_WS = sys.argv[1:3]
ZONE = ZoneInfo("America/Bogota")
OHLC = ["open", "high", "low", "close"]
FIVE = dt.timedelta(minutes=5)
over = threading.Event()
sent, ticks, failed = [], [], []


def ask_the_vendor(first, last):
    """Its bars of these days, however soon its credits of a minute are spent."""
    asked = {"symbol": "USD/COP", "interval": "5min", "timezone": "America/Bogota", "outputsize": "5000", "apikey": "record"}
    asked |= {"start_date": f"{first} 00:00:00", "end_date": f"{last} 23:59:59"}
    while True:
        try:
            with urllib.request.urlopen(f"{VENDOR_URL}/time_series?{urllib.parse.urlencode(asked)}", timeout=60) as answer:
                return json.load(answer)["values"]
        except urllib.error.HTTPError as error:
            assert error.code == 429, error
            time.sleep(0.5)


def record(first, last):
    """The vendor's bars that open in the market's sessions, by their open; both dates included."""
    days = {day.date: day for day in candela.Client().calendar(start=first, end=last) if day.opens is not None}
    bars = {}
    while first <= last:
        until = min(last, first + dt.timedelta(days=13))
        for bar in ask_the_vendor(first, until):
            opens = dt.datetime.strptime(bar["datetime"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=ZONE)
            day = days.get(opens.date())
            if day is not None and day.opens <= opens < day.closes:
                bars[opens] = [float(bar[of]) for of in OHLC]
        first = until + dt.timedelta(days=1)
    return dict(sorted(bars.items()))


def guarded(work):
    def run():
        try:
            work()
        except BaseException as error:
            failed.append(error)
            raise

    threading.Thread(target=run, daemon=True).start()


def hear_the_vendor():
    """Every price that the vendor sends."""
    with connect(f"{VENDOR_WS}?apikey=record", ping_timeout=None) as socket:
        socket.send(json.dumps({"action": "subscribe", "params": {"symbols": "USD/COP"}}))
        for text in socket:
            event = json.loads(text)
            if event["event"] == "price":
                sent.append((event["timestamp"], event["price"]))


def hear_ticks():
    with candela.Client().live(["ticks:USD/COP"]) as live:
        for message in live:
            assert isinstance(message, candela.Tick), f"the stream has a hole: {message}"
            ticks.append(message)


def distinct(prices):
    """A price that the vendor repeats is one."""
    return [price for price, _ in itertools.groupby(prices)]


def compare_ticks(closed):
    """Each number came once, and the prices are the vendor's, in order; those that are left out lie in bars that have a gap. Of the bar
    that is not closed yet, nobody knows whether it has one."""
    numbers = [tick.seq for tick in list(ticks)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "a tick is missing or doubled"
    heard = distinct((int(tick.time.timestamp()), tick.price) for tick in list(ticks))
    while sent[-1][0] <= heard[-1][0]:
        time.sleep(0.1)  # the vendor's own stream is behind ours
    record = distinct(sent)
    vendors = enumerate(record)
    places = []
    for price in heard:
        place = next((at for at, theirs in vendors if theirs == price), None)
        assert place is not None, f"{price} is not what the vendor sent next; after {len(places)}: {record[places[-1] :][:5] if places else record[:5]}"
        places.append(place)
    missing = [at for before, after in itertools.pairwise(places) for at in range(before + 1, after)]
    gaps = [(gap.from_.timestamp(), gap.to.timestamp()) for gap in candela.Client().gaps("USDCOP")]
    for at in missing:
        time_of, price = record[at]
        if time_of >= closed:
            continue
        near = record[max(at - 3, 0) : at + 4]
        assert any(begin <= time_of < end for begin, end in gaps), f"{price} of {time_of}, in {near}, was left out without a gap: {gaps}"
    assert len(heard) > 200, f"only {len(heard)} prices"
    return len(heard), len(missing), len(gaps)


def compare_bars(what, table, theirs):
    ours = {at.to_pydatetime(): list(row) for at, row in zip(table.index, table[OHLC].to_numpy(), strict=True)}
    assert list(ours) == list(theirs), f"{what}: {set(ours) ^ set(theirs)} are in one of both only"
    for opens, bar in ours.items():
        assert bar == theirs[opens], f"{what}: {opens} is {bar}, the vendor has {theirs[opens]}; {table.loc[opens].to_dict()}"


# The month, in the first of three lines.
month = candela.Client().bars("USDCOP", "5m", start="2026-01-28", end="2026-02-28")
compare_bars("the month", month, record(dt.date(2026, 1, 28), dt.date(2026, 2, 27)))
assert len(month) == 23 * 59, len(month)
assert (month.attrs["expected"], month.attrs["missing"], month.attrs["gaps"]) == (len(month), 0, []), month.attrs
print("month", flush=True)

guarded(hear_the_vendor)
guarded(hear_ticks)
guarded(lambda: (sys.stdin.readline(), over.set()))
tables = []
for table in candela.Client().tail("USDCOP", "5m", last=70):
    tables.append(table)
    print("table", table.attrs["bar_end"], table.attrs["replayed"], table.attrs["incomplete"], flush=True)
    assert not failed, failed
    is_healed = table.attrs["incomplete"] is None and table.attrs["complete"] and not table.attrs["gaps"]
    if over.is_set() and is_healed and not candela.Client().gaps("USDCOP", status="open"):
        break

ends = [dt.datetime.fromisoformat(table.attrs["bar_end"]) for table in tables]
for before, after in itertools.pairwise(ends):
    assert after - before == FIVE, f"no table, or two of them, between {before} and {after}"
last = tables[-1]
assert (len(last), last.attrs["missing"], last.attrs["gaps"]) == (70, 0, []), last.attrs
days = (last.index[0].date(), last.index[-1].date())
theirs = {opens: bar for opens, bar in record(*days).items() if last.index[0] <= opens <= last.index[-1]}
compare_bars("the tail", last, theirs)
heard, missing, gaps = compare_ticks(last["close_time"].iloc[-1].timestamp())
print(f"{len(month)} bars of a month, {len(tables)} tables, {heard} prices, {missing} left out in {gaps} gaps")
print("ok", flush=True)

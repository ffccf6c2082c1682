"""The vendor's official client, unchanged, gets the same from the vendor and from a service that read it.

vendor_client.py VENDOR_URL KEY TD_URL
"""

import sys

import pandas
from twelvedata import TDClient
from twelvedata.exceptions import BadRequestError, TwelveDataError

ours = TDClient(apikey="anything", base_url=sys.argv[3])  # first: the first client of a process asks for more
vendor = TDClient(apikey=sys.argv[2], base_url=sys.argv[1])
session = {"start_date": "2026-03-02 08:00:00", "end_date": "2026-03-02 12:50:00", "timezone": "America/Bogota"}
in_utc = {"start_date": "2026-03-02T13:00:00", "end_date": "2026-03-02T17:50:00"}


def series(client, **more):
    return client.time_series(symbol="USD/COP", interval="5min", **more)


for more in [
    session,
    session | {"order": "ASC"},
    session | {"outputsize": 7},
    session | {"outputsize": 7, "order": "ASC", "dp": 2},
    in_utc,
    in_utc | {"timezone": "UTC", "outputsize": 5000},
]:
    theirs, mine = series(vendor, **more).as_pandas(), series(ours, **more).as_pandas()
    pandas.testing.assert_frame_equal(theirs, mine)
    assert len(mine) == min(59, more.get("outputsize", 30)), (more, len(mine))
    assert series(vendor, **more).as_json() == series(ours, **more).as_json(), more
    assert series(vendor, **more).as_csv() == series(ours, **more).as_csv(), more

week = {"start_date": "2026-02-23", "end_date": "2026-02-27 23:59:00", "outputsize": 5000}
month = {"start_date": "2026-02-01", "end_date": "2026-02-28 23:59:00", "outputsize": 5000}
of_week = {"15min": 100, "30min": 50, "45min": 35, "1h": 25, "2h": 15, "4h": 10, "8h": 10}
of_month = {"1day": 20, "1week": 4, "1month": 1}
for interval, count in (of_week | of_month).items():
    stretch = week if interval in of_week else month
    asked = {"symbol": "USD/COP", "interval": interval, **stretch}
    theirs, mine = (client.time_series(**asked) for client in (vendor, ours))
    pandas.testing.assert_frame_equal(theirs.as_pandas(), mine.as_pandas())
    assert len(mine.as_pandas()) == count, (asked, len(mine.as_pandas()))
    assert theirs.as_json() == mine.as_json() and theirs.as_csv() == mine.as_csv(), asked
    other = asked | {"timezone": "America/Bogota", "order": "ASC", "outputsize": 1, "dp": 2}
    theirs, mine = (client.time_series(**other).as_pandas() for client in (vendor, ours))
    pandas.testing.assert_frame_equal(theirs, mine)

both = {"symbol": "USD/COP,XXX/YYY", "interval": "5min", **session}
theirs, mine = vendor.time_series(**both).as_json(), ours.time_series(**both).as_json()
assert theirs == mine and list(mine) == ["USD/COP"], mine  # the client passes over what is refused

for client in (vendor, ours):
    for kind, asked in [
        (BadRequestError, lambda: series(client, start_date="2020-01-01", end_date="2020-01-02", outputsize=0).as_json()),
        (BadRequestError, lambda: client.time_series(symbol="USD/COP", interval="7min").as_json()),
        (BadRequestError, lambda: ours.time_series(symbol="USD/COP", interval="1min").as_json()),  # it has no minutes, and says so
        (TwelveDataError, lambda: client.price(symbol="XXX/YYY").as_json()),
    ]:
        try:
            raise SystemExit(f"not refused: {asked()}")
        except kind:
            pass

last = series(ours, outputsize=1, **session).as_json()[0]
assert float(ours.price(symbol="USD/COP").as_json()["price"]) > 1000
assert ours.eod(symbol="USD/COP").as_json()["close"] == last["close"], ours.eod(symbol="USD/COP").as_json()
quote = ours.quote(symbol="USD/COP").as_pandas()
assert str(quote.index[0].date()) == "2026-03-02" and float(quote["open"].iloc[0]) > 1000, quote
assert ours.exchange_rate(symbol="USD/COP").as_json()["rate"] > 1000
assert ours.get_earliest_timestamp(symbol="USD/COP", interval="5min").as_json()["unix_time"] == 1770037200
assert [pair["symbol"] for pair in ours.get_forex_pairs_list().as_json()] == ["USD/COP"]
assert [pair["symbol"] for pair in ours.symbol_search(symbol="COP").as_json()] == ["USD/COP"]
assert ours.get_market_state().as_json()[0]["name"] == "USD/COP"
assert ours.api_usage().as_json()["current_usage"] == 0
print("ok")

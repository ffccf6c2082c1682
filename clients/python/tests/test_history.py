"""Tables equal the vendor's record, cell by cell."""

from __future__ import annotations

import datetime as dt
import hashlib
import http.server
import re
import signal
import sys
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import Process, Record, Service, free_port, run, wait_until

import candela

BOGOTA = ZoneInfo("America/Bogota")
OHLC = ["open", "high", "low", "close"]


@pytest.fixture
def client(quiet: Service) -> candela.Client[float]:
    return candela.Client(quiet.url)


def test_a_week_of_bars_is_the_vendors_record(client: candela.Client[float], record: Record) -> None:
    table = client.bars("USDCOP", "5m", start="2025-10-14", end="2025-10-22")
    vendor = record.bars("2025-10-14 00:00:00", "2025-10-21 23:59:00")
    assert len(table) == len(vendor) == 354
    assert [at.strftime("%Y-%m-%d %H:%M:%S") for at in table.index] == list(vendor)
    expected = pd.DataFrame([[float(price) for price in bar] for bar in vendor.values()], columns=OHLC)
    pd.testing.assert_frame_equal(table[OHLC].reset_index(drop=True), expected)
    assert str(table.index.dtype).endswith("America/Bogota]")
    assert table.index.name == "open_time"
    assert (table.attrs["expected"], table.attrs["missing"], table.attrs["complete"]) == (354, 0, True)
    assert set(table["provenance"]) == {"l0"}


def test_every_shape_holds_the_same_and_decimals_are_exact(quiet: Service, record: Record) -> None:
    exact = candela.Client(quiet.url, price="decimal")
    stretch: Any = {"start": dt.date(2025, 10, 20), "end": dt.datetime(2025, 10, 20, 8, 30, tzinfo=BOGOTA)}
    bars = exact.bars("USD/COP", into="list", **stretch)
    vendor = record.bars("2025-10-20 08:00:00", "2025-10-20 08:25:00")
    assert [(bar.open, bar.high, bar.low, bar.close) for bar in bars] == [
        tuple(Decimal(price) for price in bar) for bar in vendor.values()
    ]
    assert all(isinstance(bar.close, Decimal) and bar.open_time.tzinfo == BOGOTA for bar in bars)
    closes = [bar.close for bar in bars]
    polars = exact.bars("USD-COP", into="polars", **stretch)
    arrow = exact.bars("USD-COP", into="arrow", **stretch)
    pandas = exact.bars("USD-COP", **stretch)
    assert polars["close"].to_list() == closes
    assert polars.schema["open_time"] == pl.Datetime("us", "America/Bogota")
    assert arrow["close"].to_pylist() == closes
    assert arrow.schema.field("open_time").type == pa.timestamp("us", tz="America/Bogota")
    assert list(pandas["close"]) == closes
    assert [at.to_pydatetime() for at in pandas.index] == [bar.open_time for bar in bars]
    floats = candela.Client(quiet.url).bars("USDCOP", into="list", **stretch)
    assert [bar.close for bar in floats] == [float(close) for close in closes]


def test_limit_takes_the_latest_over_many_pages(client: candela.Client[float], monkeypatch: pytest.MonkeyPatch) -> None:
    stretch: Any = {"start": "2025-10-14", "end": "2025-10-22"}
    whole = client.bars("USDCOP", into="list", **stretch)
    monkeypatch.setattr("candela._flows.PAGE", 7)
    assert client.bars("USDCOP", into="list", **stretch) == whole
    assert client.bars("USDCOP", into="list", limit=100, **stretch) == whole[-100:]
    wait_until("20 ticks", lambda: len(client.ticks("USDCOP", limit=20)) == 20)
    ticks = client.ticks("USDCOP", limit=20, into="list")
    assert [tick.seq for tick in ticks] == list(range(1, 21))


def test_a_missing_bar_is_counted_and_explained(client: candela.Client[float], quiet: Service) -> None:
    quiet.process.line("gap", 3)
    before = client.gaps("USDCOP")[0].opened_at
    table = client.bars("USDCOP", start="2025-10-22", end="2025-10-22T08:15", as_of=before - dt.timedelta(seconds=1))
    gap = table.index.min()
    assert (table.attrs["expected"], table.attrs["missing"], table.attrs["complete"]) == (3, 1, False)
    assert gap == dt.datetime(2025, 10, 22, 8, 0, tzinfo=BOGOTA)
    (found,) = client.gaps("USDCOP", status="filled")
    assert (found.from_, found.bars, found.cause) == (
        dt.datetime(2025, 10, 22, 8, 10, tzinfo=BOGOTA),
        1,
        "upstream_close_1006",
    )


def test_the_calendar_of_a_year_and_the_rest_of_rest(client: candela.Client[float]) -> None:
    days = client.calendar(2025)
    assert (days[0].date, days[-1].date, len(days)) == (dt.date(2025, 1, 1), dt.date(2025, 12, 31), 365)
    (business,) = client.calendar(start=dt.date(2025, 10, 22), end=dt.date(2025, 10, 22))
    assert business.opens == dt.datetime(2025, 10, 22, 8, 0, tzinfo=BOGOTA)
    assert business.expected_bars == 59
    wait_until("the session", lambda: client.status()["service_status"] == "active")
    assert client.latest("usdcop")["timestamp"].tzinfo == BOGOTA
    assert [pair.symbol for pair in client.pairs()] == ["USD/COP"]
    wait_until("5 ticks", lambda: len(client.ticks("USDCOP", limit=5)) == 5)
    ticks = client.ticks("USDCOP", limit=5)
    assert list(ticks["seq"]) == [1, 2, 3, 4, 5]
    assert str(ticks.index.dtype).endswith("America/Bogota]")


def test_exceptions_carry_the_services_sentence(client: candela.Client[float], quiet: Service) -> None:
    with pytest.raises(candela.NotFoundError, match=r"^USDCPO is not served here; did you mean USD/COP\?$"):
        client.bars("USDCPO")
    with pytest.raises(candela.BadRequestError, match="is not one of 5m") as wrong:
        client.bars("USDCOP", "7m")
    assert (wrong.value.parameter, wrong.value.given, wrong.value.status) == ("interval", "7m", 400)
    with pytest.raises(candela.BadRequestError, match="not an instant"):
        client.bars("USDCOP", start="last week")
    with (
        pytest.raises(candela.NotFoundError, match="did you mean USD/COP"),
        client.live(["bars.5m:USD/CPO"]),
    ):
        pass
    with pytest.raises(candela.UnreachableError, match="cannot be reached"):
        candela.Client("http://127.0.0.1:1", retry_for=0.1).status()


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda client: client.bars(None), "symbol is None; give the name of a pair, such as 'USDCOP'"),
        (lambda client: client.tail(5), "symbol is 5"),
        (lambda client: client.bars("USDCOP", start=20251022), "20251022 is not an instant; give a text"),
        (lambda client: client.bars("USDCOP", as_of=1.5), "1.5 is not an instant"),
        (lambda client: client.bars("USDCOP", limit=0), "limit is 0; give a whole number from 1"),
        (lambda client: client.bars("USDCOP", limit=-5), "limit is -5"),
        (lambda client: client.ticks("USDCOP", limit="5"), "limit is '5'"),
        (lambda client: client.tail("USDCOP", last="5"), "last is '5'; give a whole number from 1"),
        (lambda client: client.calendar(), "give a year, or both start and end"),
        (lambda client: client.calendar("2025"), "year is '2025'; give a whole number"),
        (lambda client: client.calendar(start="2025-02-01", end="2025-01-01"), "end is 2025-01-01, before start 2025-02-01"),
        (lambda client: client.calendar(start="soon", end="2025-01-01"), "start is 'soon'; give a date"),
        (lambda client: client.live(["ticks:*"], on_slow="drop"), "'wait', 'conflate' or 'raise'"),
        (lambda client: client.live(["ticks:*"], queue=0), "queue is 0"),
        (lambda client: client.live(["ticks:*"], idle_timeout=-1), "idle_timeout is -1; give seconds"),
        (lambda client: client.live(["ticks:*"], since={"time": object()}), "give {'last': 100}"),
        (
            lambda client: client.live(["ticks:*"], resume={"ticks:USD/COP": {"seq": 1}}),
            "give `Live.positions` of another stream",
        ),
        (lambda client: client.live("ticks:*"), "give a list"),
        (lambda _: candela.Client("localhost:8080"), "give the service's address"),
        (lambda _: candela.Client("http://127.0.0.1:99999"), "give the service's address"),
        (lambda _: candela.Client(8080), "url is 8080; give the service's address"),  # type: ignore[call-overload]
        (lambda _: candela.Client("http://[::1"), "give the service's address"),
        (lambda _: candela.Client(timeout=-1), "timeout is -1; give seconds"),
        (lambda _: candela.Client(retry_for="long"), "retry_for is 'long'"),  # type: ignore[call-overload]
        (lambda _: candela.Client(None, "a\nb"), "token has characters"),
        (lambda _: candela.Client(None, "peña"), "token has characters"),
    ],
)
def test_an_argument_that_cannot_be_meant_is_named_before_anything_is_sent(ask: Callable[[Any], Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        ask(candela.Client("http://127.0.0.1:1", retry_for=0))


def test_dates_and_instants_are_taken_in_every_form(client: candela.Client[float]) -> None:
    (day,) = client.calendar(start="2025-10-22", end=dt.datetime(2025, 10, 22, 9, tzinfo=BOGOTA))
    assert day.date == dt.date(2025, 10, 22)
    with pytest.raises(candela.NotFoundError):
        client.calendar(2025, symbol="")
    begins = {"time": dt.datetime(2025, 10, 22, 8, tzinfo=BOGOTA)}
    with client.live(["ticks:USD/COP"], since=begins) as live:
        first = next(iter(live))
    assert isinstance(first, candela.Tick)
    assert first.seq == 1


@pytest.mark.parametrize(
    ("kind", "body"), [("text/html", "<p>"), ("application/json", "{"), ("application/json", "[1]"), ("application/json", "{}")]
)
def test_a_server_that_is_not_candela_is_named(kind: str, body: str) -> None:
    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = candela.Client(f"http://127.0.0.1:{server.server_port}", retry_for=0)
        with pytest.raises(candela.ServiceError, match="is not candela: its answer"):
            client.bars("USDCOP")
        with pytest.raises(candela.ServiceError, match="is not candela"), client.live(["ticks:USD/COP"]):
            pass
        server.shutdown()


def test_a_library_that_is_missing_is_named_with_the_way_to_get_it(
    client: candela.Client[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    for into, library in (("pandas", "pandas"), ("polars", "polars"), ("arrow", "pyarrow")):
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(ImportError, match=f"pip install {library}, or ask for into='list'"):
            client.bars("USDCOP", into=into)  # type: ignore[call-overload]
    assert len(client.bars("USDCOP", limit=3, into="list")) == 3


def test_a_token_comes_from_the_environment(binary: str, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = "s3cret-of-research"  # noqa: S105
    (tmp_path / "tokens").write_text(f"research : {hashlib.sha256(token.encode()).hexdigest()}\n")
    port = free_port()
    settings = {
        "server.tokens_file": "tokens",
        "upstream.ws_url": record.ws_url,
        "upstream.rest_url": record.rest_url,
        "upstream.keys_g1": "any",
    }
    given = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    process = Process(binary, ["run", "--port", str(port), *given], tmp_path)
    url = f"http://127.0.0.1:{port}"
    try:
        with pytest.raises(candela.AuthenticationError) as no_token:
            candela.Client(url).pairs()
        assert no_token.value.status == 401
        with pytest.raises(candela.AuthenticationError), candela.Client(url, "another").live(["status"]):
            pass
        monkeypatch.setenv("CANDELA_TOKEN", token)
        monkeypatch.setenv("CANDELA_URL", url)
        opened = candela.Client()
        assert [pair.symbol for pair in opened.pairs()] == ["USD/COP"]
        with opened.live(["status"]) as live:
            assert isinstance(next(iter(live)), candela.Status)
    finally:
        process.end(signal.SIGKILL)


def test_the_asynchronous_client_answers_the_same(client: candela.Client[float], quiet: Service) -> None:
    async def ask() -> tuple[pd.DataFrame, list[candela.GapRecord], int]:
        async with candela.AsyncClient(quiet.url) as other:
            table = await other.bars("USDCOP", start="2025-10-20", end="2025-10-22")
            return table, await other.gaps("USDCOP"), len(await other.calendar(2025))

    table, gaps, days = run(ask())
    pd.testing.assert_frame_equal(table, client.bars("USDCOP", start="2025-10-20", end="2025-10-22"))
    assert gaps == client.gaps("USDCOP")
    assert days == 365

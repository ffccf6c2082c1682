"""Tables equal the vendor's record, cell by cell."""

from __future__ import annotations

import datetime as dt
import hashlib
import signal
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
    with pytest.raises(ValueError, match="'wait', 'conflate' or 'raise'"):
        client.live(["ticks:*"], on_slow="drop")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="give the service's address"):
        candela.Client("localhost:8080")


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

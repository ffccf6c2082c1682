"""Reads the files of a running service with pyarrow, polars and DuckDB, and compares them with its JSON, cell by cell.

usage: parquet.py CANDELA URL FOLDER
"""

import datetime as dt
import decimal
import json
import pathlib
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import duckdb
import polars
import pyarrow.parquet

CANDELA, URL, FOLDER = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
PRICES = ["open", "high", "low", "close"]


def ask(path, **query):
    with urllib.request.urlopen(f"{URL}{path}?{urllib.parse.urlencode(query)}", timeout=60) as answer:
        return answer.read()


def told(start, end, symbol="USDCOP", interval="5m"):
    """All bars as JSON tells them, prices exact."""
    bars, more = [], {}
    while True:
        text = ask("/market/bars", symbol=symbol, interval=interval, limit=10000, **{"from": start, "to": end}, **more)
        page = json.loads(text, parse_float=decimal.Decimal)
        bars += [{**bar, "source": source} for bar, source in zip(page["bars"], page["sources"], strict=True)]
        if not page["next_cursor"]:
            return bars
        more = {"cursor": page["next_cursor"]}


def cell(name, value):
    """A cell of JSON as a file holds it."""
    if name in PRICES:
        return decimal.Decimal(value)
    if name == "flags":
        return "|".join(value)
    return value


def plain(name, value):
    """A cell of a file, comparable with JSON's."""
    if name in ("open_time", "close_time"):
        return value.timestamp()
    return value.isoformat() if name == "session_date" else value


def rows_of(table):
    return [{name: plain(name, value) for name, value in row.items()} for row in table]


def expected(bars):
    out = []
    for bar in bars:
        row = {name: cell(name, value) for name, value in bar.items()}
        for name in ("open_time", "close_time"):
            row[name] = dt.datetime.fromisoformat(bar[name]).timestamp()
        out.append(row)
    return out


def readers(file):
    yield "pyarrow", pyarrow.parquet.read_table(file).to_pylist()
    yield "polars", polars.read_parquet(file).to_dicts()
    found = duckdb.connect().execute("SET TimeZone = 'UTC'; SELECT * FROM read_parquet(?) ORDER BY open_time", [str(file)])
    names = [column[0] for column in found.description]
    yield "duckdb", [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def compare(what, found, wanted):
    assert len(found) == len(wanted), f"{what}: {len(found)} rows, JSON has {len(wanted)}"
    for row, bar in zip(found, wanted, strict=True):
        assert row == bar, f"{what}:\n{row}\n{bar}"


def until_ticks():
    """The market opens some seconds after the demo begins to listen."""
    for _ in range(240):
        if json.loads(ask("/market/ticks", symbol="USDCOP", limit=1))["count"]:
            return
        time.sleep(0.5)
    raise AssertionError("no tick came")


def compared(whole):
    """The bars that JSON and the file tell alike; a bar may be healed between both questions, so there are some tries."""
    for tries in range(5, 0, -1):
        newest = json.loads(ask("/market/bars", symbol="USDCOP", limit=1))["bars"][0]
        end = newest["open_time"]
        wanted = expected(told("2000-01-01", end))
        assert len(wanted) > 200, f"only {len(wanted)} bars to compare"
        whole.write_bytes(ask("/market/bars", symbol="USDCOP", format="parquet", **{"from": "2000-01-01", "to": end}))
        try:
            for reader, rows in readers(whole):
                compare(reader, rows_of(rows), wanted)
            return wanted, end
        except AssertionError:
            if tries == 1:
                raise


def main():
    until_ticks()
    whole = FOLDER / "bars.parquet"
    wanted, end = compared(whole)
    metadata = pyarrow.parquet.read_metadata(whole)
    dates = {bar["session_date"] for bar in wanted}
    assert metadata.num_row_groups == len(dates), (metadata.num_row_groups, len(dates))
    assert metadata.metadata[b"zone"] == b"America/Bogota" and b"gaps" in metadata.metadata
    floats = FOLDER / "floats.parquet"
    query = {"from": "2000-01-01", "to": end, "price": "float64", "format": "parquet"}
    floats.write_bytes(ask("/market/bars", symbol="USDCOP", **query))
    prices = pyarrow.parquet.read_table(floats).column("close").to_pylist()
    exact = pyarrow.parquet.read_table(whole).column("close").to_pylist()
    assert prices[:300] == [float(price) for price in exact[:300]]

    # JSON first: ticks come meanwhile, and the file has those that JSON told.
    first = json.loads(ask("/market/ticks", symbol="USDCOP", limit=500), parse_float=decimal.Decimal)["ticks"]
    ticks = FOLDER / "ticks.parquet"
    ticks.write_bytes(ask("/market/ticks", symbol="USDCOP", format="parquet"))
    rows = pyarrow.parquet.read_table(ticks).to_pylist()
    assert len(rows) >= len(first) > 0
    for row, tick in zip(rows, first, strict=False):
        assert (row["epoch"], row["seq"]) == (tick["epoch"], tick["seq"])
        assert row["price"] == decimal.Decimal(tick["data"]["price"])

    # The export: whole sessions before today, which do not change.
    days = sorted(dates)[:-1]
    out = FOLDER / "export"
    args = [CANDELA, "export", "--url", URL, "--symbol", "USD/COP", "--from", days[0], "--to", days[-1], "-o", str(out)]
    subprocess.run(args, check=True, timeout=120)
    files = sorted(out.glob("*.parquet"))
    of_days = [row for row in wanted if row["session_date"] <= days[-1]]
    exported = [row for file in files for row in rows_of(pyarrow.parquet.read_table(file).to_pylist())]
    compare("export", exported, of_days)
    assert not list(out.glob("*.part"))
    # Interrupted: a file that is missing comes again, the others stay.
    written = {file: file.stat().st_mtime_ns for file in files}
    files[1].unlink()
    (out / f"{files[1].name}.part").write_bytes(b"half")
    subprocess.run(args, check=True, timeout=120)
    again = {file: file.stat().st_mtime_ns for file in sorted(out.glob("*.parquet"))}
    changed = [file for file in again if again[file] != written[file]]
    past = [file for file in files if file.stat().st_mtime_ns == written[file]]
    assert files[1] in changed and again.keys() == written.keys() and past, changed
    # Cut short by a copy that failed, or never written: it comes again.
    for file, rest in ((files[0], files[0].read_bytes()[:-9]), (files[2], b"")):
        file.write_bytes(rest)
    subprocess.run(args, check=True, timeout=120)
    exported = [row for file in files for row in rows_of(pyarrow.parquet.read_table(file).to_pylist())]
    compare("export", exported, of_days)
    # A session that is open: what came since is added.
    today = json.loads(ask("/market/session", symbol="USDCOP"))["session_date"]
    out = FOLDER / "today"
    of_today = [*args[:6], "--from", today, "--to", today, "-o", str(out)]

    def bars_of_today():
        subprocess.run(of_today, check=True, timeout=120)
        return pyarrow.parquet.read_table(out / f"USDCOP-5m-{today}.parquet").num_rows

    before = bars_of_today()
    for _ in range(60):
        time.sleep(0.5)
        if bars_of_today() > before:
            break
    else:
        raise AssertionError(f"{before} bars of today are exported, and never more")
    # An export that a kill ended before it described its folder goes on.
    (out / "USDCOP-5m.export.json").write_text("")
    assert bars_of_today() > before
    # Sessions without bars are named.
    before = [*args[:6], "--from", "1990-01-02", "--to", "1990-01-03", "-o", str(FOLDER / "before")]
    said = subprocess.run(before, check=True, timeout=120, capture_output=True, text=True).stdout
    assert "2 of them have no bar" in said and "USDCOP-5m-1990-01-02.parquet" in said, said
    # Another export does not mix with it.
    other = subprocess.run([*args, "--as-of", days[0]], capture_output=True, text=True, timeout=120)
    assert other.returncode != 0 and "another folder" in other.stderr, other
    text = [*args[:-1], str(FOLDER / "csv"), "--format", "csv", "--partition", "none"]
    subprocess.run(text, check=True, timeout=120)
    (file,) = (FOLDER / "csv").glob("*.csv")
    assert len(polars.read_csv(file)) == len(of_days)


if __name__ == "__main__":
    main()
    print("ok")

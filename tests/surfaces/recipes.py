"""Runs the blocks of docs/recipes.md, and the Python of other documents, as they stand there.

usage: recipes.py CANDELA URL GROUP        in the folder of the repository; DATABASE_URL, CANDELA_DB and CANDELA_PG as the recipes say
"""

import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

CANDELA, URL, GROUP = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3]
ROOT = pathlib.Path.cwd()
#: What the recipes under each heading need. A heading that is not here fails: no recipe is forgotten.
NEEDS = {
    "pandas": "service",
    "polars": "service",
    "polars on exported files": "service",
    "DuckDB over HTTP": "service",
    "DuckDB on the SQLite file": "service",
    "pandas on the SQLite file": "service",
    "ADBC on the SQLite file": "service",
    "curl and jq": "service",
    "A role that only reads": "postgres",
    "psql": "postgres",
    "Bars as they were known": "postgres",
    "pandas on PostgreSQL": "postgres",
    "ADBC on PostgreSQL": "postgres",
    "Grafana on PostgreSQL": "postgres",
    "DuckDB on PostgreSQL": "duckdb",
    "NautilusTrader": "nautilus",
    "Freqtrade": "freqtrade",
}
#: Other documents with Python that runs on a service. docs/l0.md is run by tests/deploy/book, the client's README by its own tests.
DOCUMENTS = ["README.md", "docs/surfaces.md"]


def blocks(path):
    """Every block that is code, with the heading above it."""
    found, heading = [], ""
    for title, language, block in re.findall(r"^## ([^\n]+)$|^```(python|sh|sql)\n(.*?)^```", path.read_text(), re.M | re.S):
        heading = title or heading
        if block:
            found.append((heading, language, block))
    return found


def expanded(sql):
    """What Grafana makes of its macros (pkg/tsdb/grafana-postgresql-datasource/macros.go), for the day that the database holds."""
    return re.sub(r"\$__timeFilter\((\w+)\)", r"\1 BETWEEN '2025-10-22T00:00:00Z' AND '2025-10-23T00:00:00Z'", sql)


def ended(command, folder, endless):
    """What it printed, with its exit code. One that goes on for ever is ended after its first line."""
    program = subprocess.Popen(
        command,
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{folder}/bin:{os.environ['PATH']}",
            "CANDELA_URL": URL,
            "PYTHONPATH": str(ROOT / "clients/python/src"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        if endless:
            first = program.stdout.readline()
            program.kill()
            said, wrong = program.communicate()
            return (0 if first else 1), first + said, wrong
        said, wrong = program.communicate(timeout=180)
        return program.returncode, said, wrong
    finally:
        program.kill()


def run(heading, language, block, folder):
    script = block.replace("http://localhost:8080", URL)
    command = {
        "python": [sys.executable, "-u", "-c", script],
        "sh": ["bash", "-eo", "pipefail", "-c", script],
        "sql": ["psql", "-X", "-v", "ON_ERROR_STOP=1", os.environ.get("CANDELA_PG", ""), "-c", expanded(script)],
    }[language]
    code, said, wrong = ended(command, folder, endless='.tail("' in block and "break" not in block)
    assert code == 0 and said.strip(), f"{heading}: {block}\n{said}\n{wrong}"
    for nothing in ("0 rows", "(0, ", "Empty"):
        assert nothing not in said, f"{heading}: {block}\nanswers with nothing: {said}"
    print(f"== {heading}\n{said}")


#: The extension of DuckDB that a group's recipes install.
EXTENSIONS = {"service": "sqlite_scanner", "duckdb": "postgres_scanner"}


def extension_of_pypi(name):
    """Puts DuckDB's extension where `INSTALL` would put it: this machine may have a package registry and no other way out."""
    import duckdb

    package = importlib.util.find_spec(f"duckdb_extension_{name}")
    (kept,) = pathlib.Path(package.origin).parent.glob("extensions/*/*.duckdb_extension")
    (platform,) = duckdb.sql("PRAGMA platform").fetchone()
    home = tempfile.TemporaryDirectory()
    place = pathlib.Path(home.name, ".duckdb/extensions", kept.parent.name, platform)
    place.mkdir(parents=True)
    shutil.copy(kept, place)
    os.environ["HOME"] = home.name
    return home


def freqtrade_reads_what_the_service_has(folder):
    """The file through freqtrade's loader against REST, and its types against those that freqtrade asks for."""
    import candela
    import pandas
    from freqtrade.candle_columns import get_candle_columns, get_candle_dtypes
    from freqtrade.data.history import load_pair_history
    from freqtrade.enums import CandleType

    (file,) = folder.glob("user_data/data/*/*.feather")
    kept = pandas.read_feather(file)
    assert list(kept.columns) == get_candle_columns(CandleType.SPOT), kept.columns
    for column, kind in get_candle_dtypes(CandleType.SPOT).items():
        assert kept[column].dtype == kind, f"{column}: {kept[column].dtype}, freqtrade wants {kind}"
    assert str(kept["date"].dtype) == "datetime64[ms, UTC]", kept["date"].dtype
    loaded = load_pair_history("USD/COP", "5m", file.parent, fill_up_missing=False, data_format="feather")
    told = candela.Client(URL).bars("USDCOP", "5m", start="2025-10-14", end="2025-10-22")
    assert len(loaded) == len(told) > 200, (len(loaded), len(told))
    assert (loaded["date"].dt.as_unit("us").to_numpy() == told.index.tz_convert("UTC").as_unit("us").to_numpy()).all()
    for column in ("open", "high", "low", "close"):
        assert (loaded[column].to_numpy() == told[column].to_numpy()).all(), column


def nautilus_keeps_what_the_service_has(folder):
    """The catalogue against REST: every price to the last digit, every bar at its close."""
    import candela
    from nautilus_trader.persistence.catalog import ParquetDataCatalog

    bars = ParquetDataCatalog(str(folder / "catalog")).bars()
    told = candela.Client(URL, price="decimal").bars("USDCOP", "5m", start="2025-10-14", end="2025-10-22", into="list")
    assert len(bars) == len(told) > 200, (len(bars), len(told))
    for bar, other in zip(bars, told, strict=True):
        prices = [price.as_decimal() for price in (bar.open, bar.high, bar.low, bar.close)]
        assert prices == [other.open, other.high, other.low, other.close], (bar, other)
        assert bar.ts_event == int(other.close_time.timestamp()) * 10**9, (bar, other)


def views_have_what_the_service_has(folder):
    """The views of the store's file through DuckDB in another process than the service's, against REST, cell by cell."""
    import candela
    import duckdb

    duck = duckdb.connect()
    duck.sql("LOAD sqlite")
    duck.sql(f"ATTACH '{os.environ['CANDELA_DB']}' AS candela (TYPE sqlite, READ_ONLY)")
    client = candela.Client(URL, price="decimal")
    stretch = "symbol = 'USDCOP' AND \"interval\" = '5m' AND session_date BETWEEN '2025-10-14' AND '2025-10-21'"
    prices = ", ".join(f"{name}::DECIMAL(12, 6)" for name in ("open", "high", "low", "close"))
    rows = duck.sql(f"""
        SELECT epoch_us(open_time::TIMESTAMPTZ), epoch_us(close_time::TIMESTAMPTZ), {prices}, revision::INT, provenance, flags
        FROM candela.readable_bars WHERE {stretch} ORDER BY datetime
    """).fetchall()
    told = client.bars("USDCOP", "5m", start="2025-10-14", end="2025-10-22", into="list")
    assert len(rows) == len(told) > 200, (len(rows), len(told))
    for row, bar in zip(rows, told, strict=True):
        instants = [round(at.timestamp() * 10**6) for at in (bar.open_time, bar.close_time)]
        wanted = (*instants, bar.open, bar.high, bar.low, bar.close, bar.revision, bar.provenance, "|".join(bar.flags))
        assert row == wanted, (row, bar)
    tables = {"readable_ticks": "realtime_market_data", "readable_gaps": "gaps", "readable_sessions": "market_sessions"}
    for view, table in tables.items():
        counts = [duck.sql(f"SELECT count(symbol) FROM candela.{name}").fetchone()[0] for name in (view, table)]
        assert counts[1] >= counts[0] > 0 or view == "readable_gaps", (view, counts)
    columns = "price::DECIMAL(12, 6) = last / 1000000, received_at::TIMESTAMPTZ = make_timestamptz(t.time), \"timestamp\"::TIMESTAMPTZ = make_timestamptz(t.event_time)"
    same = f"SELECT DISTINCT {columns} FROM candela.readable_ticks r JOIN candela.realtime_market_data t ON r.epoch = t.epoch AND r.seq::BIGINT = t.seq"
    assert duck.sql(same).fetchall() == [(True, True, True)], duck.sql(same)
    for change in ("DELETE FROM candela.readable_bars", "DELETE FROM candela.gaps"):
        try:
            duck.sql(change)
        except duckdb.Error:
            continue
        raise AssertionError(f"{change} is not refused")


sys.path.insert(0, str(ROOT / "clients/python/src"))
AFTER = {
    "DuckDB on the SQLite file": views_have_what_the_service_has,
    "Freqtrade": freqtrade_reads_what_the_service_has,
    "NautilusTrader": nautilus_keeps_what_the_service_has,
}
if GROUP == "documents":
    chosen = [(name, *block) for name in DOCUMENTS for block in blocks(ROOT / name) if block[1] == "python"]
    assert {name for name, *_ in chosen} == set(DOCUMENTS), "a document has no Python any more: take it from the list"
else:
    recipes = blocks(ROOT / "docs/recipes.md")
    unknown = {heading for heading, *_ in recipes} ^ set(NEEDS)
    assert not unknown, f"{unknown}: each heading of docs/recipes.md with code stands in NEEDS, and no other"
    chosen = [("docs/recipes.md", *block) for block in recipes if NEEDS[block[0]] == GROUP]
assert chosen, f"nothing is run for {GROUP}"
home = extension_of_pypi(EXTENSIONS[GROUP]) if GROUP in EXTENSIONS else None
folders = {}
for name, heading, language, block in chosen:
    # Blocks under one heading go on from each other's files.
    if (name, heading) not in folders:
        folders[name, heading] = tempfile.TemporaryDirectory()
        here = pathlib.Path(folders[name, heading].name)
        (here / "deploy").symlink_to(ROOT / "deploy")
        (here / "bin").mkdir()
        (here / "bin/candela").symlink_to(CANDELA)
    run(f"{name}: {heading}", language, block, folders[name, heading].name)
for (name, heading), folder in folders.items():
    if name == "docs/recipes.md" and heading in AFTER:
        AFTER[heading](pathlib.Path(folder.name))
print(f"{len(chosen)} blocks")
print("ok")

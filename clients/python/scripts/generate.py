#!/usr/bin/env python3
"""Writes src/candela/_generated.py from the documents of a service: /asyncapi.json and /openapi.json.

python scripts/generate.py http://127.0.0.1:8080            writes the file
python scripts/generate.py http://127.0.0.1:8080 --check    exits with 1 when the file is not what it would write
"""

from __future__ import annotations

import json
import keyword
import sys
import urllib.request
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parent.parent / "src" / "candela" / "_generated.py"

# The messages that are handed out, and their classes; the others are read by the client itself.
CLASSES = {
    "market_data": "Tick",
    "bar": "Bar",
    "bar_end": "BarEnd",
    "gap": "Gap",
    "seam": "Seam",
    "certificate": "Certificate",
    "session": "Session",
    "status": "Status",
    "skipped": "Skipped",
    "discontinuity": "Discontinuity",
}
# Of REST's answers, those that are handed out as they are.
RECORDS = {"Gap": "GapRecord", "Day": "Day"}

# The order in which people read these; what is not here follows, by name.
ORDER = ["symbol", "interval", "date", "open_time", "close_time", "time", "price"]
ORDER += ["open", "high", "low", "close", "bid", "ask", "spread", "volume", "ticks", "state", "revision"]
ORDER += ["id", "from_", "to", "bars", "status", "cause", "opens", "closes", "type", "session_type"]
ORDER += ["provenance", "source", "flags", "session_date", "received_at", "server_status"]
ORDER += ["channel", "seq", "base", "version", "forming", "published_at"]

HEAD = '''"""The service's messages as types.

Written by scripts/generate.py from /asyncapi.json and /openapi.json; not edited by hand.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal

from candela._context import Context, P'''


class Field:
    """One member of a message: its name and type in Python, and how it is read."""

    def __init__(self, name: str, schema: dict[str, Any], source: str, required: bool) -> None:
        self.name, self.required, read = name, required, f'{source}["{name}"]'
        if name.endswith("_us"):
            stem = name.removesuffix("_us")
            self.name = stem if stem.endswith("time") else f"{stem}_at"
            schema = {"micros": True}
        if keyword.iskeyword(self.name):
            self.name += "_"
        self.kind, self.convert = kind(schema)
        self.read = self.convert.format(read)
        if not required:
            absent = f'{source}.get("{name}")'
            held = f"None if {absent} is None else {self.read}"
            self.read = absent if self.convert == "{}" else held
            self.kind = self.kind if self.kind.endswith("| None") or self.kind == "Any" else f"{self.kind} | None"
        self.generic = "P" in self.kind.split(" ")


def kind(schema: dict[str, Any]) -> tuple[str, str]:
    """The type of a schema in Python, and the expression that makes one of a value."""
    if schema.get("micros"):
        return "dt.datetime", "context.micros({})"
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return name, f"decode_{snake(name)}({{}}, context)"
    if "anyOf" in schema:
        (held,) = [one for one in schema["anyOf"] if one != {"type": "null"}]
        name, convert = kind(held)
        if convert == "{}":
            return f"{name} | None", convert
        optional = {
            "context.price({})": "context.optional_price({})",
            "context.instant({})": "context.optional_instant({})",
        }
        return f"{name} | None", optional[convert]
    if "enum" in schema:
        return "Literal[" + ", ".join(json.dumps(word) for word in schema["enum"]) + "]", "{}"
    simple = {
        ("string", None): ("str", "{}"),
        ("string", "date-time"): ("dt.datetime", "context.instant({})"),
        ("string", "date"): ("dt.date", "dt.date.fromisoformat({})"),
        ("integer", None): ("int", "{}"),
        ("number", None): ("P", "context.price({})"),
        ("boolean", None): ("bool", "{}"),
    }
    found = simple.get((schema.get("type", ""), schema.get("format")))
    if found:
        return found
    if schema.get("type") == "array":
        of, convert = kind(schema["items"])
        return (
            f"tuple[{of}, ...]",
            "tuple({})" if convert == "{}" else f"tuple({convert.format('one')} for one in {{}})",
        )
    if isinstance(schema.get("additionalProperties"), dict):
        of, convert = kind(schema["additionalProperties"])
        if convert == "{}":
            return f"dict[str, {of}]", "dict({})"
        return f"dict[str, {of}]", f"{{{{key: {convert.format('one')} for key, one in {{}}.items()}}}}"
    if schema.get("type") == "object":
        return "dict[str, Any]", "{}"
    return "Any", "{}"


def snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


def fields_of(schema: dict[str, Any], source: str) -> list[Field]:
    required = set(schema.get("required", []))
    return [Field(name, of, source, name in required) for name, of in schema["properties"].items()]


def place(field: Field) -> tuple[int, str]:
    return (ORDER.index(field.name) if field.name in ORDER else len(ORDER), field.name)


def class_of(name: str, summary: str, fields: list[Field]) -> str:
    fields = sorted(fields, key=place)
    generic = any(field.generic for field in fields)
    of = f"{name}[P]" if generic else name
    lines = [
        "",
        "",
        "@dataclass(frozen=True, slots=True, kw_only=True)",
        f"class {name}{'(Generic[P])' if generic else ''}:",
    ]
    lines += [f'    """{summary[0].upper()}{summary[1:]}."""', ""]
    lines += [f"    {field.name}: {field.kind}{'' if field.required else ' = None'}" for field in fields]
    lines += ["", "", f"def decode_{snake(name)}(m: Any, context: Context[P]) -> {of}:"]
    if any("d[" in field.read or "d.get" in field.read for field in fields):
        lines += ['    d = m["data"]']
    lines += [f"    return {name}("]
    lines += [f"        {field.name}={field.read}," for field in fields]
    lines += ["    )"]
    return "\n".join(lines)


def message(name: str, spec: dict[str, Any], schemas: dict[str, Any]) -> str:
    payload = dict(spec["payload"])
    properties = dict(payload["properties"])
    properties.pop("type")
    data = properties.get("data", {}).get("$ref")
    if data:
        # The envelope and what is in it are one object in Python: bar.close, not bar.data.close.
        del properties["data"]
        properties.pop("timestamp")
        inner = dict(schemas[data.rsplit("/", 1)[1]])
        within = dict(inner["properties"])
        within.pop("event", None)
        stamp = within.pop("timestamp", None)
        held = fields_of({**inner, "properties": within}, "d")
        if stamp:
            held.append(stamp_field())
        outer = fields_of({"properties": properties, "required": payload["required"]}, "m")
        published = Field("timestamp", {"type": "string", "format": "date-time"}, "m", required=False)
        published.name = "published_at"
        for field in held:
            field.name = "session_type" if field.name == "type" else field.name
        for field in outer:  # a record of REST's has no place in a channel
            if field.name == "seq":
                field.required, field.kind, field.read = False, "int | None", 'm.get("seq")'
        return class_of(CLASSES[name], spec["summary"], [*held, *outer, published])
    fields = fields_of({"properties": properties, "required": payload["required"]}, "m")
    return class_of(CLASSES[name], spec["summary"], fields)


def stamp_field() -> Field:
    """A tick's own stamp: whole seconds of Unix time on the wire."""
    field = Field("timestamp", {"type": "integer"}, "d", required=True)
    field.name, field.kind, field.read = "time", "dt.datetime", 'context.micros(d["timestamp"] * 1_000_000)'
    return field


def generated(asyncapi: dict[str, Any], openapi: dict[str, Any]) -> str:
    schemas = asyncapi["components"]["schemas"]
    messages = asyncapi["components"]["messages"]
    parts = [HEAD]
    parts += [message(name, messages[name], schemas) for name in CLASSES]
    for name, shown in RECORDS.items():
        schema = openapi["components"]["schemas"][name]
        parts.append(class_of(shown, f"`{name}` of /openapi.json", fields_of(schema, "m")))
    decoders = "\n".join(f'    "{name}": decode_{snake(of)},' for name, of in CLASSES.items())
    decoders = "DECODERS: dict[str, Callable[[Any, Context[Any]], Any]] = {\n" + decoders + "\n}"
    parts.append("\n\n#: By the `type` of a message, those that are handed out.\n" + decoders)
    others = sorted(name for name, spec in messages.items() if spec["x-sender"] == "server" and name not in CLASSES)
    others_text = "\n".join(f'        "{name}",' for name in others)
    parts.append(
        "\n#: The others that the service may send.\nCONTROL: frozenset[str] = frozenset(\n    {\n" + others_text + "\n    }\n)"
    )
    errors = "\n".join(f'    {e["code"]}: ("{e["name"]}", {e["temporary"]}),' for e in asyncapi["x-errors"])
    parts.append("\n#: Errors by code: name, and whether the same request may succeed later.\n")
    parts[-1] += "ERRORS: dict[int, tuple[str, bool]] = {\n" + errors + "\n}"
    closes = "\n".join(f'    {c["code"]}: ("{c["name"]}", "{c["advice"]}"),' for c in asyncapi["x-closes"])
    parts.append("\n#: Closes by code: name, and what the client should do.\n")
    parts[-1] += "CLOSES: dict[int, tuple[str, str]] = {\n" + closes + "\n}\n"
    return "\n".join(parts)


def read(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def main() -> int:
    url = sys.argv[1].rstrip("/")
    text = generated(read(f"{url}/asyncapi.json"), read(f"{url}/openapi.json"))
    if "--check" in sys.argv[2:]:
        same = TARGET.read_text(encoding="utf-8") == text
        print("equal" if same else f"{TARGET} is not what the service's documents say: run scripts/generate.py {url}")
        return 0 if same else 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

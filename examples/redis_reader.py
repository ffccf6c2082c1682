#!/usr/bin/env python3
"""Follows a Redis stream of candela: every message once and in order, or a line that says what cannot be had.

    python3 redis_reader.py redis://127.0.0.1:6379/0 ticks:USD/COP position.json [seconds]

It needs no package. The position is kept in the file, so that the next start goes on where this one ended. A line is one of

    {"message": {...}, "epoch": "k3v9"}     the next message
    {"hole": [17, 30]}                      these numbers are not in the stream any more; ask /market/ticks or /market/bars
    {"discontinuity": "x7a2", "after": 40, "from": 1}  another epoch: its numbers do not continue those before, and begin with `from` here
"""
import json, os, socket, sys, time
from urllib.parse import unquote, urlsplit

url, channel, path = urlsplit(sys.argv[1]), sys.argv[2], sys.argv[3]
until = time.monotonic() + float(sys.argv[4]) if len(sys.argv) > 4 else float("inf")
key = f"candela:stream:{channel}"


class Refused(Exception):
    """Redis answered with an error."""


class Redis:
    """One connection that speaks RESP 2."""

    def __init__(self):
        self.socket = socket.create_connection((url.hostname, url.port or 6379), timeout=10)
        self.file = self.socket.makefile("rb")
        if url.password:
            login = [unquote(url.username)] if url.username else []
            self.ask("AUTH", *login, unquote(url.password))
        if url.path.strip("/"):
            self.ask("SELECT", url.path.strip("/"))

    def ask(self, *words):
        parts = [str(word).encode() for word in words]
        request = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self.socket.sendall(request)
        return self.answer()

    def answer(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis closed the connection")
        kind, text = line[:1], line[1:-2].decode()
        if kind == b"-":
            raise Refused(text)
        if kind == b":":
            return int(text)
        if kind == b"$":
            return None if text == "-1" else self.file.read(int(text) + 2)[:-2].decode(errors="replace")
        if kind == b"*":
            return None if text == "-1" else [self.answer() for _ in range(int(text))]
        return text


def number(id):
    """An id as two numbers, which compare as ids do."""
    return tuple(int(part) for part in id.split("-"))


def say(**line):
    print(json.dumps(line), flush=True)


class Reader:
    def __init__(self):
        # The id of the last entry that was read; the epoch and number of the last message; the number of the newest entry read.
        self.at = {"id": "0-0", "epoch": None, "seq": 0, "newest": 0}
        if os.path.exists(path):
            with open(path) as file:
                self.at = json.load(file)

    def keep(self):
        with open(path + ".new", "w") as file:
            json.dump(self.at, file)
        os.replace(path + ".new", path)

    def hear(self, id, fields):
        at = self.at
        at["id"] = id
        if "epoch" not in fields or "seq" not in fields:
            return  # somebody else's: candela removes it
        epoch, seq = fields["epoch"], int(fields["seq"])
        at["newest"] = seq
        if epoch != at["epoch"]:
            if at["epoch"] is not None:
                say(discontinuity=epoch, after=at["seq"], **{"from": seq})
            at["epoch"], at["seq"] = epoch, seq - 1  # what came before in this epoch is not in the stream
        if seq <= at["seq"]:
            return  # filled in again
        if seq > at["seq"] + 1:
            say(hole=[at["seq"] + 1, seq - 1])
        at["seq"] = seq
        say(message=json.loads(fields["message"]), epoch=epoch)

    def quiet(self, redis):
        """Nothing is above our id. That is no news only if the stream still goes as far as we have read."""
        try:
            answer = redis.ask("XINFO", "STREAM", key)
            last = dict(zip(answer[::2], answer[1::2]))["last-generated-id"]
        except Refused as refused:
            if "no such key" not in str(refused) and "WRONGTYPE" not in str(refused):
                raise
            last = "0-0"
        if number(last) < number(self.at["id"]):
            self.at["id"] = "0-0"  # deleted and filled again: read all of it, and skip what we have
        elif self.at["newest"] < self.at["seq"]:
            newest = self.at["newest"]  # the log ends before what it said
            say(discontinuity=self.at["epoch"], after=self.at["seq"], **{"from": newest + 1})
            self.at["seq"] = newest

    def follow(self, redis):
        while time.monotonic() < until:
            try:
                answer = redis.ask("XREAD", "COUNT", 500, "BLOCK", 500, "STREAMS", key, self.at["id"])
            except Refused as refused:
                if not str(refused).startswith(("WRONGTYPE", "UNBLOCKED")):
                    raise
                time.sleep(0.5)  # somebody else's key stands there: candela replaces it
                continue
            if answer is None:
                self.quiet(redis)
            else:
                for id, flat in answer[0][1]:
                    self.hear(id, dict(zip(flat[::2], flat[1::2])))
            self.keep()


reader = Reader()
while time.monotonic() < until:
    try:
        reader.follow(Redis())
    except (OSError, Refused) as error:
        print("retrying:", error, file=sys.stderr)
        time.sleep(0.5)

#!/usr/bin/env python3
"""Follows ticks and five-minute bars, resumes after every disconnect, and checks that nothing is missing.

    pip install websockets
    python3 client.py ws://127.0.0.1:8080/ws USD/COP [seconds]
"""
import asyncio, json, random, sys, time
import websockets

url = (sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8080/ws") + "?channels=status"
symbol = sys.argv[2] if len(sys.argv) > 2 else "USD/COP"
until = time.monotonic() + float(sys.argv[3]) if len(sys.argv) > 3 else float("inf")
channels = [f"ticks:{symbol}", f"bars.5m:{symbol}", f"quality:{symbol}"]
positions, counts = {}, {"ticks": 0, "bars": 0, "holes": 0}


def check(message):
    """The next message's `from` is the last `seq` + 1, or the server said `skipped` in its place."""
    channel, seq = message["channel"], message["seq"]
    known = positions.get(channel)
    if known and message.get("from", seq) != known["seq"] + 1:
        counts["holes"] += 1
        print("HOLE in", channel, "after", known["seq"], "before", message.get("from", seq))
    positions[channel] = {"epoch": known["epoch"] if known else None, "seq": seq}


def hear(message):
    kind = message["type"]
    if kind == "subscribed":
        for answer in message["channels"]:
            if "seq" in answer and not answer.get("recovered"):
                positions[answer["channel"]] = {"epoch": answer["epoch"], "seq": answer["seq"]}
    elif kind == "error":
        print("error:", message["message"])
    elif kind == "discontinuity":
        positions[message["channel"]] = {"epoch": message["epoch"], "seq": message["seq"]}
    elif kind in ("market_data", "gap", "seam", "certificate", "skipped") or (kind == "bar" and "seq" in message):
        check(message)
        counts["ticks"] += kind == "market_data"
        if kind == "bar":
            counts["bars"] += 1
            bar = message["data"]
            print(bar["open_time"], bar["open"], bar["high"], bar["low"], bar["close"], bar["state"], *bar["flags"])


async def follow():
    async with websockets.connect(url, subprotocols=["candela.v1"], max_size=1 << 20) as socket:
        await socket.send(json.dumps({"action": "subscribe", "channels": channels, "since": positions}))
        while time.monotonic() < until:
            try:
                hear(json.loads(await asyncio.wait_for(socket.recv(), 1)))
            except TimeoutError:
                pass


async def main():
    delay = 0.2
    while time.monotonic() < until:
        try:
            await follow()
            delay = 0.2
        except (OSError, websockets.WebSocketException) as error:
            print("disconnected:", error)
            if getattr(getattr(error, "rcvd", None), "code", 0) >= 4500:
                break
            await asyncio.sleep(delay * random.uniform(0.5, 1.5))
            delay = min(delay * 2, 15)
    print(json.dumps(counts))
    sys.exit(1 if counts["holes"] else 0)


asyncio.run(main())

"""A stand-in for the Python service that candela replaces: it hears the vendor, and writes the same tables and Redis keys by the same
habits. A price counts for the bar of its arrival; bars are written with a price, once there are a hundred or five minutes are over;
nothing is written when the session closes; a connection that ends cleanly is not made again.

    python_service.py VENDOR_WS DATABASE_URL REDIS_URL FLAG CLOCK

CLOCK is `REAL MARKET SPEED`: an instant of the machine's clock, the market's instant at that time, both in microseconds since 1970, and
how many market seconds pass in one. Prints "active" when it hears the vendor, and "closed" when it has noticed the close.
"""

import asyncio
import datetime
import decimal
import json
import pathlib
import sys
import time
import zoneinfo

import asyncpg
import redis.asyncio
import websockets

BOGOTA = zoneinfo.ZoneInfo("America/Bogota")
FIVE = datetime.timedelta(minutes=5)
SOURCE = "twelvedata_websocket"
UPSERT = """INSERT INTO market_data (symbol, datetime, open, high, low, close, volume, source) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (symbol, datetime, source) DO UPDATE SET high = GREATEST(market_data.high, EXCLUDED.high),
    low = LEAST(market_data.low, EXCLUDED.low), close = EXCLUDED.close, volume = market_data.volume + EXCLUDED.volume, updated_at = NOW()"""
TICK = """INSERT INTO realtime_market_data (symbol, time, bid, ask, last, spread, volume, session_date, trading_session, source)
    VALUES ('USDCOP', $1, $2, $3, $4, $5, 0, $6, TRUE, $7)"""
HEALTH = "INSERT INTO system_health (service_name, status, details) VALUES ('enhanced_websocket_service', $1, $2)"


class Clock:
    def __init__(self, text):
        self.real, self.market, self.speed = (int(part) for part in text.split())

    def now(self):
        passed = time.time_ns() // 1_000 - self.real
        at = datetime.datetime.fromtimestamp(0, BOGOTA) + datetime.timedelta(microseconds=self.market + passed * self.speed)
        return at.astimezone(BOGOTA)

    async def sleep(self, seconds):
        await asyncio.sleep(seconds / self.speed)


class Service:
    def __init__(self, clock, database, cache):
        self.clock, self.database, self.cache = clock, database, cache
        self.buffer, self.flushed = [], clock.now()
        self.state, self.ticks = "waiting_l0", 0

    def market_is_open(self):
        now = self.clock.now()
        return now.weekday() < 5 and datetime.time(8) <= now.time() <= datetime.time(12, 55)

    async def run(self, url, flag):
        while not flag.exists():
            await self.clock.sleep(30)
        while True:
            if self.market_is_open() and self.state != "active":
                try:
                    await self.hear(url)
                except Exception as error:  # as the service does: whatever it is, once more a minute later
                    self.state = "error"
                    print(f"error {error!r}", file=sys.stderr, flush=True)
            elif self.state == "active" and not self.market_is_open():
                self.state = "market_closed"
                print("closed", flush=True)
            await self.database.execute(HEALTH, "healthy", json.dumps({"state": self.state, "processed_ticks": self.ticks}))
            await self.clock.sleep(60)

    async def hear(self, url):
        async with websockets.connect(url, ping_interval=None) as socket:
            await socket.send(json.dumps({"action": "subscribe", "params": {"symbols": "USD/COP"}}))
            self.state = "active"
            print("active", flush=True)
            async for text in socket:
                if not self.market_is_open():
                    return
                # Every frame goes to its own clients here; it has none.
                event = json.loads(text)
                if "price" in event:
                    await self.take(event)

    async def take(self, event):
        now = self.clock.now()
        price = event["price"]
        bid, ask = event.get("bid", price), event.get("ask", price)
        tick = {"symbol": "USDCOP", "price": price, "bid": bid, "ask": ask, "spread": ask - bid, "volume": 0}
        tick |= {"timestamp": now.isoformat(), "source": SOURCE}
        spread = round_six(ask - bid) or None
        await self.database.execute(TICK, now, *map(round_six, (bid, ask, price)), spread, now.date(), SOURCE)
        await self.cache.setex("usdcop:latest_price", 300, json.dumps(tick))
        await self.cache.publish("market_data:realtime", json.dumps({"type": "price_update", "data": tick}))
        self.buffer.append((now, price))
        self.ticks += 1
        if len(self.buffer) >= 100 or now - self.flushed >= FIVE:
            await self.flush()
            self.flushed = now
        await self.database.execute(HEALTH, "healthy", json.dumps({"state": self.state, "processed_ticks": self.ticks}))

    async def flush(self):
        bars = {}
        for at, price in self.buffer:
            opens = at.replace(minute=at.minute - at.minute % 5, second=0, microsecond=0)
            bars.setdefault(opens, []).append(price)
        for opens, prices in bars.items():
            four = [round_six(value) for value in (prices[0], max(prices), min(prices), prices[-1])]
            await self.database.execute(UPSERT, "USDCOP", opens, *four, 0, f"{SOURCE}_aggregated")
        self.buffer.clear()


def round_six(value):
    return decimal.Decimal(str(value)).quantize(decimal.Decimal("0.000001"))


async def main(vendor, database_url, redis_url, flag, clock):
    clock = Clock(clock)
    database = await asyncpg.connect(database_url)
    service = Service(clock, database, redis.asyncio.from_url(redis_url))
    await service.run(vendor, pathlib.Path(flag))


asyncio.run(main(*sys.argv[1:]))

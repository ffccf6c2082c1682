"""Python's websockets with its broadcast(), driven line by line by the measuring program (see server.rs). It also echoes."""

import asyncio
import os
import sys
import time

from websockets.asyncio.server import broadcast, serve

CLIENTS = set()
SENT = 0


async def follow(socket):
    CLIENTS.add(socket)
    try:
        async for message in socket:
            await socket.send(message)
    finally:
        CLIENTS.discard(socket)


async def send(burst, bursts, pause_us):
    global SENT
    began = time.monotonic()
    for i in range(bursts):
        tick = os.environ["TICK"].replace("1767361204123456", str(time.time_ns() // 1000))
        for _ in range(burst):
            broadcast(CLIENTS, tick)
        SENT += 1
        await asyncio.sleep(max(0, pause_us * (i + 1) / 1e6 - (time.monotonic() - began)))


async def main():
    async with serve(follow, "127.0.0.1", 0, compression=None) as server:
        print("127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
        sending = None
        while line := await asyncio.to_thread(sys.stdin.readline):
            word, *numbers = line.split()
            if word == "clients":
                print(len(CLIENTS), flush=True)
            elif word == "sent":
                print(SENT, flush=True)
            elif word == "send":
                sending = asyncio.create_task(send(*map(int, numbers)))
        if sending:
            sending.cancel()
    os._exit(0)


asyncio.run(main())

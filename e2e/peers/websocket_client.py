"""Talks to a WebSocket echo: URL is its argument. Prints what came back, then how it ended."""

import asyncio
import sys

from websockets.asyncio.client import connect


async def main():
    async with connect(sys.argv[1], subprotocols=["echo.v1"]) as connection:
        print("subprotocol", connection.subprotocol)
        for message in ["hello", b"\x00\xff", "x" * 200_000]:
            await connection.send(message)
            answer = await connection.recv()
            print("same" if answer == message else "different")
        await connection.ping()
    print("closed", connection.close_code)


asyncio.run(main())

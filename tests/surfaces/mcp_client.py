"""Lists and calls every tool of `candela mcp` with the official client.

usage: mcp_client.py CANDELA URL
"""

import asyncio
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

ARGUMENTS = {
    "explain": {"symbol": "USD/COP"},
    "bars": {"symbol": "usdcop", "limit": "5"},
    "gaps": {"limit": "5"},
    "calendar": {"from": "2026-01-01", "to": "2026-01-10"},
}


async def until_priced(session):
    """The market opens some seconds after the demo begins to listen."""
    for _ in range(240):
        if not (await session.call_tool("latest", {})).is_error:
            return
        await asyncio.sleep(0.5)
    raise AssertionError("no price came")


async def main():
    server = StdioServerParameters(command=sys.argv[1], args=["mcp", "--url", sys.argv[2]])
    async with stdio_client(server) as (reads, writes), ClientSession(reads, writes) as session:
        hello = await session.initialize()
        assert hello.server_info.name == "candela"
        await until_priced(session)
        tools = (await session.list_tools()).tools
        names = {tool.name for tool in tools}
        assert names == {"status", "explain", "bars", "latest", "gaps", "session", "calendar"}, names
        for tool in tools:
            assert tool.annotations.read_only_hint and tool.output_schema, tool
            found = await session.call_tool(tool.name, ARGUMENTS.get(tool.name, {}))
            assert not found.is_error, (tool.name, found)
            quality = found.structured_content["data_quality"]
            assert set(quality) == {"complete", "gaps", "safe_to_trade"}, quality
        bars = (await session.call_tool("bars", ARGUMENTS["bars"])).structured_content["data"]["bars"]
        assert len(bars) == 5 and all(isinstance(bar["close"], str) for bar in bars), bars
        for stretch, complete in [
            ({"from": "2025-10-14", "to": "2025-10-18", "limit": "1000"}, True),
            ({"from": "2025-10-14", "limit": "1000", "to": "2025-10-18T08:00", "as_of": "2025-10-01"}, False),
            ({"from": "1990-01-02", "to": "1990-02-01"}, False),  # before there was anything
            ({"from": "2025-10-18", "to": "2025-10-20"}, True),  # a weekend
            ({"to": "1990-02-01"}, False),
        ]:
            found = (await session.call_tool("bars", {"symbol": "USD/COP", **stretch})).structured_content
            assert found["data_quality"]["complete"] is complete, (stretch, found["data_quality"], found["data"]["count"])
        for name, arguments, said in [
            ("bars", {"symbol": "NOPE"}, "NOPE"),
            ("bars", {"interval": "7m"}, "interval"),
            ("bars", {"size": "1"}, "not an argument"),
            ("gaps", {"status": "lost"}, "status"),
        ]:
            refused = await session.call_tool(name, arguments)
            assert refused.is_error and said in refused.content[0].text, (name, refused)
        resources = (await session.list_resources()).resources
        for resource in resources:
            text = (await session.read_resource(resource.uri)).contents[0].text
            assert text.startswith("# "), resource
        assert len(resources) == 3


asyncio.run(main())
print("ok")

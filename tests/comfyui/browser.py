"""Collect what a browser receives while nodes run. Runs on ComfyUI's interpreter, for its aiohttp."""

import asyncio
import json
import sys

import aiohttp


async def main(port: str, prompt: str, node: str) -> None:
    address, steps, previews, shown = f"127.0.0.1:{port}", [], 0, []
    async with aiohttp.ClientSession() as session, session.ws_connect(f"http://{address}/ws?clientId=tests") as socket:
        await socket.send_json({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
        body = {"prompt": json.loads(prompt), "client_id": "tests"}
        async with session.post(f"http://{address}/prompt", json=body) as answer:
            answer.raise_for_status()
        async for message in socket:
            if message.type == aiohttp.WSMsgType.BINARY:
                previews += 1
                continue
            event = json.loads(message.data)
            if event["type"] == "progress":  # sent by a ProgressBar only
                data = event["data"]
                steps += [(data["value"], data["max"])] if data["node"] == node else []
            if event["type"] == "executed" and event["data"]["node"] == node:
                shown.append(event["data"]["output"])
            if event["type"] in ("execution_success", "execution_error"):
                break
    json.dump({"steps": steps, "previews": previews, "shown": shown}, sys.stdout)


asyncio.run(main(*sys.argv[1:]))

"""A client over one kept connection: as little as HTTP needs, so that the clients take no time from the servers."""

from __future__ import annotations

import asyncio


class Client:
    """``async with Client(port) as client: status, headers, body = await client.post(path, body)``."""

    def __init__(self, port: int, headers: dict[str, str] | None = None) -> None:
        self.port, self._headers = port, {"Host": "127.0.0.1", "Content-Type": "application/json"} | (headers or {})

    async def __aenter__(self) -> Client:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def send(self, path: str, body: bytes) -> None:
        """Only the request; whoever does not wait for the answer is a client that leaves."""
        lines = [f"POST {path} HTTP/1.1", *(f"{k}: {v}" for k, v in self._headers.items())]
        self.writer.write("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body)

    async def post(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers in lower case, and the body of the answer."""
        self.send(path, body)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in head[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        return int(head[0].split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

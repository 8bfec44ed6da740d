"""A proxy in front of an S3 server that delays and counts the calls: what a bucket costs that is far away.

python -m benchmarks.s3_proxy --server http://127.0.0.1:9000 --delay 20 --port 9001

`GET /__calls__` tells the calls since the last `DELETE /__calls__`; neither is delayed or counted. The bytes of a call
and of its answer are passed on as they are, so signatures and conditions stay valid.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import unescape

import click

from benchmarks.s3_server import free_port, s3_environment, s3_server, started

__all__ = ["Call", "CallLog", "CountingProxy", "ProxyProcess", "counting_proxy", "proxy_process"]
__all__ += ["s3_environment", "s3_server"]

_CALLS = "/__calls__"
_HEAD_BYTES = 1 << 20
_BODILESS = (204, 304)
_DELETED = re.compile(rb"<Key>(.*?)</Key>")


class Call(NamedTuple):
    """One call to the store."""

    kind: str
    """GET, HEAD, PUT, COPY, DELETE, LIST, BULK_DELETE or MULTIPART (each call of an upload in parts)."""

    key: str
    """Without the bucket; of a LIST its prefix, of a BULK_DELETE its keys, each in a line."""

    condition: str = ""
    """`If-None-Match: *`, `If-Match: "…"`, or nothing."""

    @classmethod
    def of(cls, method: str, target: str, headers: dict[str, str], raw: bytes = b"") -> Call:
        """What a request asks for."""
        parts = urlsplit(target)
        query = parse_qs(parts.query, keep_blank_values=True)
        key = unquote(parts.path).lstrip("/").partition("/")[2]
        kind = method
        if "uploads" in query or "uploadId" in query:
            kind = "MULTIPART"
        elif method == "POST" and "delete" in query:
            kind, key = "BULK_DELETE", "\n".join(unescape(one.decode()) for one in _DELETED.findall(raw))
        elif method == "GET" and not key:
            kind, key = "LIST", query.get("prefix", [""])[0]
        elif "x-amz-copy-source" in headers:
            kind = "COPY"
        names = [name for name in ("If-None-Match", "If-Match") if name.lower() in headers]
        return cls(kind, key, ", ".join(f"{name}: {headers[name.lower()]}" for name in names))


class CallLog:
    """The calls in the order in which they came."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def reset(self) -> None:
        """Forget them."""
        self.calls = []

    def counts(self) -> dict[str, int]:
        """How many there were of each kind."""
        return dict(Counter(call.kind for call in self.calls))

    def of_key(self, part: str) -> list[Call]:
        """Those whose key contains this."""
        return [call for call in self.calls if part in call.key]


class CountingProxy(CallLog):
    """The proxy itself, for an event loop of its own."""

    def __init__(self, server: str, delay_ms: float) -> None:
        super().__init__()
        parts = urlsplit(server)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.url = ""
        self.delay_ms = delay_ms
        self.lose_answer: Callable[[Call], bool] | None = None
        """Whether the client gets `503` instead of the answer to a call that the server has done."""

    async def start(self, port: int = 0) -> asyncio.Server:
        """Listen on 127.0.0.1; with port 0, on a free one."""
        server = await asyncio.start_server(self._client, "127.0.0.1", port, limit=_HEAD_BYTES)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            while request := await _message(reader):
                method, target, _ = request.first.split(" ", 2)
                if target == _CALLS:
                    writer.write(self._tell(method))
                    continue
                call = Call.of(method, target, request.headers, request.raw)
                self.calls.append(call)
                await asyncio.sleep(self.delay_ms / 1000)
                upstream = upstream or await asyncio.open_connection(*self._server, limit=_HEAD_BYTES)
                upstream[1].write(request.raw)
                answer = await _message(upstream[0], head_only=method == "HEAD")
                if answer is None:
                    return
                lost = self.lose_answer is not None and self.lose_answer(call)
                writer.write(_answer(503, b"") if lost else answer.raw)
                await writer.drain()
                if answer.closes:
                    return
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client or the server is gone, or the proxy ends
        finally:
            for one in filter(None, (writer, upstream and upstream[1])):
                with suppress(OSError):
                    one.close()

    def _tell(self, method: str) -> bytes:
        if method == "DELETE":
            self.reset()
            return _answer(204, b"")
        return _answer(200, json.dumps({"counts": self.counts(), "calls": self.calls}).encode())


class ProxyProcess:
    """A proxy in a process of its own, which leaves this one's time to what is measured."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def calls(self) -> list[Call]:
        """The calls in the order in which they came."""
        return [Call(*call) for call in json.loads(self._ask("GET"))["calls"]]

    def counts(self) -> dict[str, int]:
        """How many there were of each kind."""
        return dict(json.loads(self._ask("GET"))["counts"])

    def reset(self) -> None:
        """Forget them."""
        self._ask("DELETE")

    def _ask(self, method: str) -> bytes:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        try:
            connection.request(method, _CALLS)
            return connection.getresponse().read()
        finally:
            connection.close()


@contextmanager
def counting_proxy(url: str, delay_ms: float = 0.0) -> Iterator[CountingProxy]:
    """A proxy of the server with this URL in a thread; it has its own `url`, and the calls are in the object.

    Args:
        url: of the S3 server.
        delay_ms: milliseconds that each call waits; concurrent calls wait at the same time.
    """
    proxy, loop, ready = CountingProxy(url, delay_ms), asyncio.new_event_loop(), threading.Event()

    async def serve() -> None:
        async with await proxy.start() as server:
            ready.set()
            with suppress(asyncio.CancelledError):
                await server.serve_forever()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run, name="s3-proxy", daemon=True)
    thread.start()
    if not ready.wait(timeout=30):
        raise RuntimeError("the proxy did not start")
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(_cancel_all, loop)
        thread.join(timeout=30)


@contextmanager
def proxy_process(url: str, delay_ms: float, folder: Path) -> Iterator[ProxyProcess]:
    """The same in a process of its own, for benchmarks.

    Args:
        url: of the S3 server.
        delay_ms: milliseconds that each call waits; concurrent calls wait at the same time.
        folder: for the proxy's log `proxy.log`.
    """
    port = free_port()
    arguments = ["-m", "benchmarks.s3_proxy", "--server", url, "--delay", str(delay_ms), "--port", str(port)]
    with started(arguments, folder / "proxy.log", port):
        yield ProxyProcess(f"http://127.0.0.1:{port}")


class _Message(NamedTuple):
    """A request or an answer."""

    raw: bytes
    first: str
    headers: dict[str, str]
    closes: bool = False
    """Whether the server closes the connection after it."""


async def _message(reader: asyncio.StreamReader, *, head_only: bool = False) -> _Message | None:
    """The next message; None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    closes = headers.get("connection", "").lower() == "close"
    status = int(first.split(" ", 2)[1]) if first.startswith("HTTP/") else 0
    if head_only or status in _BODILESS:
        body = b""
    elif headers.get("transfer-encoding", "").lower() == "chunked":
        body = await _chunks(reader)
    elif status and "content-length" not in headers:
        body, closes = await reader.read(), True
    else:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return _Message(head + body, first, headers, closes)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    """A chunked body as it was sent."""
    parts = []
    size = -1
    while size:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        parts += [line, await reader.readexactly(size + 2)]
    return b"".join(parts)


def _answer(status: int, body: bytes) -> bytes:
    length = "" if status in _BODILESS else f"Content-Length: {len(body)}\r\n"
    return f"HTTP/1.1 {status} {http.client.responses[status]}\r\n{length}\r\n".encode() + body


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()


@click.command()
@click.option("--server", required=True, help="URL of the S3 server.")
@click.option("--delay", default=20.0, show_default=True, help="Milliseconds that each call waits.")
@click.option("--port", default=9001, show_default=True)
def main(server: str, delay: float, port: int) -> None:
    """Serve until terminated."""

    async def serve() -> None:
        async with await CountingProxy(server, delay).start(port) as listening:
            await listening.serve_forever()

    asyncio.run(serve())


if __name__ == "__main__":
    main()

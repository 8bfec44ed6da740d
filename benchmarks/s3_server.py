"""A real S3 server for tests and benchmarks: moto, in a process of its own, with everything in memory.

It honours `If-None-Match: *` and `If-Match`, and does not verify signatures. It answers one call at a time, so that a
condition and its write are one step, as on S3.

python -m benchmarks.s3_server --port 9000
"""

from __future__ import annotations

import functools
import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

__all__ = ["BUCKET", "free_port", "s3_environment", "s3_server", "started", "wait_for_port"]

BUCKET = "catalogs"

_ROOT = Path(__file__).parents[1]


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """A server with the empty bucket `catalogs`; gives its URL.

    Args:
        folder: for the server's log `s3.log` and its temporary files; what is stored is gone at the end.
    """
    port = free_port()
    environment = {"TMPDIR": str(folder), "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": str(64 << 20)}
    with started(["-m", "benchmarks.s3_server", "--port", str(port)], folder / "s3.log", port, environment):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("PUT", f"/{BUCKET}")
        answer = connection.getresponse()
        connection.close()
        if answer.status != 200:
            raise RuntimeError(f"the S3 server made no bucket: {answer.status}")
        yield f"http://127.0.0.1:{port}"


def s3_environment(url: str) -> dict[str, str]:
    """The environment variables with which `s3://catalogs/…` is on the server, or the proxy, with this URL."""
    return {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ENDPOINT_URL": url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
    }


@contextmanager
def started(arguments: list[str], log: Path, port: int, environment: dict[str, str] | None = None) -> Iterator[None]:
    """Python in a process of its own that listens on a port of this machine; it is stopped at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=_ROOT,
            env={**os.environ, **(environment or {})},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for_port(port, process, log)
        yield
    finally:
        process.terminate()
        process.wait(timeout=10)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path | None = None) -> None:
    """Wait until a server listens.

    Raises:
        RuntimeError: it ended, or does not listen after 60 seconds; the message has its log.
    """
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    told = log.read_text(errors="replace") if log else ""
    raise RuntimeError(f"the server at port {port} did not start: {told}")


def _one_at_a_time(app: Callable[..., Iterable[bytes]]) -> Callable[[dict[str, Any], Any], list[bytes]]:
    alone = threading.Lock()

    def answer(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        with alone:
            return list(app(environ, start_response))

    return answer


@click.command()
@click.option("--port", default=9000, show_default=True)
def main(port: int) -> None:
    """Serve until terminated."""
    from moto.core import serialize
    from moto.moto_server.werkzeug_app import create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        """Keeps connections, and writes no line for each call."""

        protocol_version = "HTTP/1.1"

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            pass

    # half of a LIST is spent on parsing times, which are full seconds and so mostly the same
    serialize.parse_to_aware_datetime = functools.lru_cache(maxsize=1 << 16)(serialize.parse_to_aware_datetime)
    # the app of S3 alone: moto's own dispatcher looks for the service of each call, which takes as long as the call
    app = _one_at_a_time(create_backend_app("s3"))
    make_server("127.0.0.1", port, app, threaded=True, request_handler=Handler).serve_forever()


if __name__ == "__main__":
    main()

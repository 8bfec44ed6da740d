"""Download one schema over http or https.

The URLs come from other people's items, so downloads are limited: to http and https, to public hosts (checked after DNS
and on every redirect), and in size and time.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
import urllib.request
from collections.abc import Collection
from functools import partial
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from stac_manager.errors import one_line
from stac_manager.validate.verdicts import SchemaUnavailableError

__all__ = ["MAX_BYTES", "fetch"]

MAX_BYTES = 5_000_000
"""The greatest size of an answer; the largest STAC schema has 0.3 MB."""
_TIMEOUT = 10.0  # seconds to connect, and for each read
_DEADLINE = 30.0  # seconds for the whole answer
_TRIES = 3  # if the failure may be temporary
_PASSING_STATUSES = frozenset({429, 500, 502, 503, 504})


def fetch(address: str, allow_hosts: Collection[str] = ()) -> bytes:
    """The body of the answer to a GET, at most `MAX_BYTES` long.

    A request with a temporary failure is sent three times; if the server cannot be reached, only once.

    Args:
        address: an http or https URL.
        allow_hosts: names of hosts that may be in a private network.

    Raises:
        SchemaUnavailableError: the download failed; the text is the reason.
    """
    retrying = Retrying(
        stop=stop_after_attempt(_TRIES),
        wait=wait_exponential(multiplier=0.2, max=2),
        retry=retry_if_exception(_may_pass),
        reraise=True,
    )
    try:
        return retrying(_get, address, allow_hosts)
    except HTTPError as error:
        raise SchemaUnavailableError(f"the server answered HTTP {error.code}") from None
    except URLError as error:
        raise SchemaUnavailableError(f"the server cannot be reached: {one_line(error.reason)}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise SchemaUnavailableError(f"the server cannot be reached: {one_line(error)}") from None


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, HTTPError):
        return error.code in _PASSING_STATUSES
    reason = error.reason if isinstance(error, URLError) else error
    return isinstance(reason, ConnectionResetError | http.client.IncompleteRead | http.client.RemoteDisconnected)


def _get(address: str, allow_hosts: Collection[str]) -> bytes:
    request = urllib.request.Request(address, headers={"User-Agent": "stac-manager", "Accept": "application/json"})  # noqa: S310 - the store lets http and https through only
    try:
        response = _opener(allow_hosts).open(request, timeout=_TIMEOUT)
    except HTTPError as error:
        error.close()
        raise
    with response:
        return _read(response)


def _read(response: http.client.HTTPResponse) -> bytes:
    started = time.monotonic()
    parts: list[bytes] = []
    size = 0
    while part := response.read1(1 << 16):
        parts.append(part)
        size += len(part)
        if size > MAX_BYTES:
            raise SchemaUnavailableError(f"the answer is larger than {MAX_BYTES} bytes")
        if time.monotonic() - started > _DEADLINE:
            raise SchemaUnavailableError(f"no complete answer within {_DEADLINE:g} s")
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return b"".join(parts)


def _opener(allow_hosts: Collection[str]) -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        _Http(allow_hosts),
        _Https(allow_hosts),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from https to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            fp.close()
            raise SchemaUnavailableError("the server redirects from https to http")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Http(urllib.request.HTTPHandler):
    def __init__(self, allow_hosts: Collection[str]) -> None:
        super().__init__()
        self._connection: Any = partial(_PublicHttp, allow_hosts=allow_hosts)

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return super().http_open(req) if _by_proxy(req) else self.do_open(self._connection, req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, allow_hosts: Collection[str]) -> None:
        super().__init__()
        self._connection: Any = partial(_PublicHttps, allow_hosts=allow_hosts)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return super().https_open(req) if _by_proxy(req) else self.do_open(self._connection, req)


def _by_proxy(request: urllib.request.Request) -> bool:
    # the operator has set the proxy of the environment, and the proxy resolves the name itself
    return request.host != urlsplit(request.full_url).netloc


class _PublicHttp(http.client.HTTPConnection):
    def __init__(self, host: str, *, allow_hosts: Collection[str], **options: Any) -> None:
        super().__init__(host, **options)
        self._allow_hosts = allow_hosts

    def connect(self) -> None:
        self.sock = _connect(self.host, self.port, self.timeout, self._allow_hosts)


class _PublicHttps(http.client.HTTPSConnection):
    def __init__(self, host: str, *, allow_hosts: Collection[str], **options: Any) -> None:
        super().__init__(host, **options)
        self._allow_hosts = allow_hosts

    def connect(self) -> None:
        plain = _connect(self.host, self.port, self.timeout, self._allow_hosts)
        self.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=self.host)


def _connect(host: str, port: int, timeout: float | None, allow_hosts: Collection[str]) -> socket.socket:
    """Connect to the IP address that was checked, so that a second DNS answer cannot change it."""
    ip = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
    if host not in allow_hosts and not _is_public(ip):
        raise SchemaUnavailableError(f"{host} is in a private network")
    return socket.create_connection((ip, port), timeout)


def _is_public(ip: str) -> bool:
    address = ipaddress.ip_address(ip.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_global

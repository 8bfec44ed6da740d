"""Remove secrets from items before they are stored: signatures and keys in URLs and storage options.

Signatures also expire soon, so a stored one is of no use.
"""

from __future__ import annotations

import functools
import re
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

__all__ = ["may_hold_secrets", "redact_in_place"]

_AZURE = frozenset(
    {
        "sig",
        "se",
        "sp",
        "st",
        "sv",
        "sr",
        "spr",
        "srt",
        "ss",
        "skoid",
        "sktid",
        "skt",
        "ske",
        "sks",
        "skv",
        "sip",
        "si",
        "sdd",
        "saoid",
        "suoid",
        "scid",
        "rscc",
        "rscd",
        "rsce",
        "expires",
    }
)
"""Parts of a shared access signature; they are removed only together with `sig`."""

_ALWAYS = frozenset(
    {
        "signature",
        "awsaccesskeyid",
        "googleaccessid",
        "security-token",
        "token",
        "access_token",
        "api_key",
        "apikey",
        "api-key",
        "subscription-key",
        "sig",
    }
)


_OPTIONS = "storage_options"
"""Members whose name ends with this are options of fsspec and similar libraries: `xarray:storage_options`, …"""

_SECRET_OPTIONS = (
    "authorization",
    "connectionstring",
    "cookie",
    "credential",
    "credentials",
    "key",
    "keyid",
    "passphrase",
    "password",
    "sas",
    "secret",
    "signature",
    "token",
)
"""Endings of the names of secret options, in lower case and without `_` and `-`."""

_WAYS = frozenset({"anon", "browser", "cache", "cloud", "google_default"})
"""Values of gcsfs' `token` that are no token but name a way to get one."""


_CREDENTIALS = re.compile(rb'//[^/"?#\\]*[@\\]|/\\[tnr]')
"""User name and password before the host of a URL, or what may hide them: parsers of URLs skip tabs and line ends."""

_ESCAPE = re.compile(rb"\\(?:/|u00(?:[2-7]|0[9aAdD]))")
"""JSON escapes of characters that need none: they could hide any of the other patterns."""


def may_hold_secrets(line: bytes, names: frozenset[str] = frozenset()) -> bool:
    """Whether `redact_in_place` may find something in an item; False is certain, and needs no parsing.

    Args:
        line: the item as JSON.
        names: further secret query parameters, in lower case.
    """
    if b"storage_options" in line or (b"@" in line and _CREDENTIALS.search(line)):
        return True
    if b"\\" in line and _ESCAPE.search(line):
        return True
    pattern, start = _secret_parameters(names), line.find(b"?")
    while start >= 0:
        end = line.find(b'"', start)
        end = end if end >= 0 else len(line)
        # an escape in a query may be a quote, which does not end the text, or hide a name
        if line.find(b"\\", start, end) >= 0 or pattern.search(line, start + 1, end):
            return True
        start = line.find(b"?", start + 1)
    return False


@functools.lru_cache(maxsize=64)
def _secret_parameters(names: frozenset[str]) -> re.Pattern[bytes]:
    """A secret parameter in a query, or one whose name is percent-encoded or not ASCII."""
    texts = (re.escape(name.encode()).replace(b"\\ ", b"[ +]") for name in sorted(_ALWAYS | names) if name.isascii())
    known = b"|".join(texts)
    doubtful = rb"[^=&#]*[%\x80-\xff]"
    return re.compile(rb"(?<![^?&])(?:" + doubtful + rb"|x-amz-|x-goog-|(?:" + known + rb")(?![^=&#]))", re.IGNORECASE)


def redact_in_place(value: Any, names: frozenset[str] = frozenset()) -> bool:
    """Remove user names, passwords, signatures and keys from a JSON value, in place.

    They are removed from every `href`, and from members whose names end in `storage_options`.

    Args:
        value: an item, a collection, or a part of one.
        names: further secret query parameters, in lower case.

    Returns:
        Whether anything was removed.
    """
    changed = False
    if isinstance(value, list):
        for member in value:
            if type(member) is dict or type(member) is list:
                changed |= redact_in_place(member, names)
        return changed
    for name, member in value.items() if isinstance(value, dict) else ():
        if type(member) is dict or type(member) is list:
            redact = _without_secret_options if name.endswith(_OPTIONS) else redact_in_place
            changed |= redact(member, names)
        elif name == "href" and type(member) is str and (clean := _clean(member, names)) != member:
            value[name] = clean
            changed = True
    return changed


def _without_secret_options(value: Any, names: frozenset[str]) -> bool:
    changed = False
    for name, member in list(value.items() if isinstance(value, dict) else enumerate(value)):
        if isinstance(name, str) and _is_secret_option(name, member):
            del value[name]
            changed = True
        elif isinstance(member, dict | list):
            changed |= _without_secret_options(member, names)
        elif isinstance(member, str) and (clean := _clean(member, names)) != member:
            value[name] = clean
            changed = True
    return changed


def _is_secret_option(name: str, value: Any) -> bool:
    if value is None or isinstance(value, bool) or (isinstance(value, str) and value in _WAYS):
        return False
    return name.lower().replace("_", "").replace("-", "").endswith(_SECRET_OPTIONS)


def _clean(href: str, names: frozenset[str]) -> str:
    if "?" not in href and "@" not in href:
        return href
    try:
        parts = urlsplit(href)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return href
    azure = any(name == "sig" for name, _ in pairs)
    kept = [(name, text) for name, text in pairs if not _is_secret(name.lower(), azure, names)]
    host = parts.netloc
    if parts.scheme in ("http", "https"):
        host = host.rpartition("@")[2]
    if len(kept) == len(pairs) and host == parts.netloc:
        return href
    query = urlencode(kept) if len(kept) < len(pairs) else parts.query
    return parts._replace(netloc=host, query=query).geturl()


def _is_secret(name: str, azure: bool, names: frozenset[str]) -> bool:
    if name.startswith(("x-amz-", "x-goog-")) or name in _ALWAYS or name in names:
        return True
    return azure and name in _AZURE

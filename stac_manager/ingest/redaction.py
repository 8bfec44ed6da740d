"""Remove secrets from items before they are stored: signatures and keys in URLs and storage options.

Signatures also expire soon, so a stored one is of no use.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

__all__ = ["SECRET_MARKERS", "redact_in_place"]

SECRET_MARKERS = (b"?", b"@", b"storage_options")
"""An answer without any of these bytes has no secrets."""

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
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in members:
        if isinstance(member, dict | list) and isinstance(name, str) and name.endswith(_OPTIONS):
            changed |= _without_secret_options(member, names)
        elif isinstance(member, dict | list):
            changed |= redact_in_place(member, names)
        elif name == "href" and isinstance(member, str) and (clean := _clean(member, names)) != member:
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

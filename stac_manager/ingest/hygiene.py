"""What is taken out of items before they are kept: signatures and keys in addresses, secrets that are soon stale."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

__all__ = ["SIGNS", "without_secrets"]

SIGNS = (b"sig=", b"X-Amz-", b"x-amz-", b"X-Goog-", b"x-goog-", b"ignature=", b"oken=", b"ey=", b"KeyId=", b"@")
"""Where none of these bytes is in an answer, there is nothing to take out."""

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
"""Parts of a shared access signature: secrets only beside `sig`."""

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


def without_secrets(value: Any, names: frozenset[str] = frozenset()) -> Any:
    """The JSON value with every `href` freed of user names, passwords, signatures and keys; the rest as it is.

    Args:
        value: an item, a collection, or a part of one; it is changed in place.
        names: further query parameters that are secrets, in lower case.
    """
    if isinstance(value, dict):
        for name, member in value.items():
            if name == "href" and isinstance(member, str):
                value[name] = _clean(member, names)
            elif isinstance(member, dict | list):
                without_secrets(member, names)
    elif isinstance(value, list):
        for member in value:
            without_secrets(member, names)
    return value


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

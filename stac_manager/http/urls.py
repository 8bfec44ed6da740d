"""Which parts of a URL may be shown, and whether two URLs have the same origin."""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ["origin", "public_url"]

_PORTS = {"http": 80, "https": 443}


def public_url(url: str) -> str:
    """The URL without user, password, query and fragment, safe to show in a message."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(an unreadable URL)"
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port; credentials go to one origin only.

    Source: RFC 6454 section 4.

    Raises:
        ValueError: the URL cannot be read.
    """
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(scheme)

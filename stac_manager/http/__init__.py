"""HTTP requests with limits, retries and credentials.

What belongs here: everything that each request needs. What does not: what a server is asked for.
"""

from __future__ import annotations

from stac_manager.http.auth import ApiKey, Basic, Bearer, ClientCredentials, Credentials
from stac_manager.http.client import HttpClient, HttpSettings, HttpStats, HttpStatusError, TooMuchError
from stac_manager.http.session import limit_session
from stac_manager.http.urls import origin, public_url

__all__ = [
    "ApiKey",
    "Basic",
    "Bearer",
    "ClientCredentials",
    "Credentials",
    "HttpClient",
    "HttpSettings",
    "HttpStats",
    "HttpStatusError",
    "TooMuchError",
    "limit_session",
    "origin",
    "public_url",
]

"""Credentials reach the server they are for, and no other place: no host, no file, no log."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from demo.server import create_app, serve
from stac_manager.errors import SourceError
from stac_manager.pipeline import STAGES, Chain
from tests.stac_items import make_collection, make_item
from tests.workflows import make_workflow

SECRET = "s3cr3t-of-the-test"
AUTHS: dict[str, dict[str, Any]] = {
    "bearer": {"type": "bearer", "token": SECRET},
    "basic": {"type": "basic", "username": "me", "password": SECRET},
    "key in a header": {"type": "api_key", "name": "X-Key", "key": SECRET},
    "key in the query": {"type": "api_key", "name": "subscription", "key": SECRET, "send_as": "query"},
    "OAuth2": {"type": "oauth2_client_credentials", "client_id": "me", "client_secret": SECRET, "scope": "read"},
}


@dataclass
class Guarded:
    """An API that answers only those who prove who they are, and a token server of its own."""

    url: str = ""
    tokens: list[str] = field(default_factory=list)
    lifetime: int = 3600
    revoked: set[str] = field(default_factory=set)

    def auth(self, name: str) -> dict[str, Any]:
        more = {"token_url": f"{self.url}/token"} if name == "OAuth2" else {}
        return {**AUTHS[name], **more}

    def lets_in(self, request: web.Request) -> bool:
        sent = request.headers.get("Authorization", "")
        known = {f"Bearer {token}" for token in [SECRET, *self.tokens] if token not in self.revoked}
        known.add("Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode())
        return sent in known or SECRET in (request.headers.get("X-Key"), request.query.get("subscription"))

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        if form.get("client_secret") != SECRET or form.get("grant_type") != "client_credentials":
            return web.json_response({"error": "invalid_client"}, status=401)
        self.tokens.append(f"{SECRET}-{len(self.tokens)}")
        return web.json_response({"access_token": self.tokens[-1], "expires_in": self.lifetime})


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    state = Guarded()
    signed = "https://u:p@data.example.com/a.tif?keep=1&sig=SIGNED&se=2024&X-Amz-Signature=SIGNED&subscription=KEY"
    items = [
        {**make_item(f"i{number}", f"2024-01-{number + 1:02}T00:00:00Z"), "assets": {"a": {"href": signed}}}
        for number in range(12)
    ]
    app = create_app([make_collection()], items)

    @web.middleware
    async def guard(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path == "/token":
            return await state.token(request)
        return await handler(request) if state.lets_in(request) else web.Response(status=401, text="who are you?")

    app.middlewares.append(guard)
    app.router.add_post("/token", state.token)
    with serve(app) as url:
        state.url = url
        yield state


def run_chain(folder: Path, guarded: Guarded, name: str) -> Chain:
    workflow = make_workflow(folder, guarded.url, source={"auth": guarded.auth(name)}, processing={"page_size": 5})
    chain = Chain.of(workflow, "c")
    for stage in STAGES:
        chain.run(stage, "2024-01")
    chain.publish_collection()
    return chain


@pytest.mark.parametrize("name", AUTHS)
def test_each_way_of_proving_who_asks_works(name: str, guarded: Guarded, tmp_path: Path) -> None:
    chain = run_chain(tmp_path, guarded, name)
    manifest = chain.stage_partition("published", "2024-01").read(chain.storage)
    assert manifest is not None
    assert manifest.ledger.passed == 12


@pytest.mark.parametrize("name", AUTHS)
def test_no_secret_and_no_signature_is_in_anything_written_or_logged(
    name: str, guarded: Guarded, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    import pyarrow as pa

    with caplog.at_level(logging.DEBUG):
        chain = run_chain(tmp_path, guarded, name)
    text = [caplog.text, "".join(capsys.readouterr()), repr(chain), str(chain.workflow)]
    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert files
    for path in files:
        compression = "zstd" if path.suffix == ".zst" else None
        with pa.input_stream(str(path), compression=compression) as stream:
            text.append(stream.read().decode("utf-8", "replace"))
    keys = ["subscription=KEY"] if name == "key in the query" else []
    for secret in (*keys, SECRET, base64.b64encode(f"me:{SECRET}".encode()).decode(), "SIGNED", "u:p@"):
        assert not [part for part in text if secret in part], secret
    assert any("https://data.example.com/a.tif?keep=1" in part for part in text)


def test_a_wrong_secret_is_an_error_that_does_not_show_it(guarded: Guarded, tmp_path: Path) -> None:
    auth = {**guarded.auth("OAuth2"), "client_secret": f"{SECRET}-wrong"}
    workflow = make_workflow(tmp_path, guarded.url, source={"auth": auth})
    with pytest.raises(SourceError, match="cannot get a token: HTTP 401") as caught:
        Chain.of(workflow, "c").run("raw_items", "2024-01")
    assert SECRET not in str(caught.value)


def test_a_token_is_renewed_when_it_ends_or_is_revoked(guarded: Guarded, tmp_path: Path) -> None:
    guarded.lifetime = 0
    chain = run_chain(tmp_path, guarded, "OAuth2")
    first = len(guarded.tokens)
    guarded.revoked.update(guarded.tokens)
    assert chain.run("raw_items", "2024-01").ledger.passed == 12
    assert len(guarded.tokens) > first


class Elsewhere:
    """Another host, which notes whatever is sent to it."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def app(self) -> web.Application:
        async def note(request: web.Request) -> web.Response:
            self.seen.append(json.dumps([str(request.url), dict(request.headers), await request.text()]))
            return web.json_response({"type": "FeatureCollection", "features": [], "links": []})

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", note)
        return app


@pytest.mark.parametrize("name", [name for name in AUTHS if name != "OAuth2"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, None])
def test_credentials_never_follow_to_another_host(name: str, status: int | None, tmp_path: Path) -> None:
    other = Elsewhere()
    with serve(other.app()) as there:
        app = create_app([make_collection()], [make_item("a", "2024-01-05T00:00:00Z")])

        @web.middleware
        async def away(request: web.Request, handler: Any) -> web.StreamResponse:
            if request.path != "/search":
                return await handler(request)
            if status is not None:
                return web.Response(status=status, headers={"Location": f"{there}/search?x=1"})
            return web.json_response({"features": [], "links": [{"rel": "next", "href": f"{there}/search"}]})

        app.middlewares.append(away)
        with serve(app) as url:
            workflow = make_workflow(tmp_path, url, source={"auth": AUTHS[name]})
            with pytest.raises(SourceError, match=r"another place|leaves for"):
                Chain.of(workflow, "c").run("raw_items", "2024-01")
    assert other.seen == []


@pytest.mark.parametrize("name", ["bearer", "key in a header", "key in the query"])
def test_discovery_sends_credentials_to_no_other_host_either(name: str, tmp_path: Path) -> None:
    other = Elsewhere()

    async def away(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": f"{other_url}/"})

    with serve(other.app()) as other_url:
        app = web.Application()
        app.router.add_get("/", away)
        with serve(app) as url:
            workflow = make_workflow(tmp_path, url, source={"auth": AUTHS[name]})
            with pytest.raises(SourceError, match="another place"):
                Chain.of(workflow, "c").run("raw_items", "2024-01")
    assert other.seen == []

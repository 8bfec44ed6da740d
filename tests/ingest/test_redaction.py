"""Secrets beside hrefs: what a server puts into the storage options of a signed item."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_manager.ingest.redaction import may_hold_secrets, redact_in_place
from stac_manager.ingest.stac_api.page_parser import parse_page
from stac_manager.items import loads
from tests.conftest import need
from tests.stac_items import make_item

SECRETS = [
    "credential",
    "sas_token",
    "account_key",
    "connection_string",
    "token",
    "secret",
    "key",
    "password",
    "client_secret",
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "AWS_SECRET_ACCESS_KEY",
    "secretAccessKey",
    "sasToken",
    "Authorization",
]
PLAIN = {
    "account_name": "daymeteuwest",
    "anon": True,
    "requester_pays": False,
    "region_name": "eu-west-1",
    "client_kwargs": {"endpoint_url": "https://s3.example.com"},
    "token": "anon",
    "credential": None,
}


def cut(*items: dict[str, Any]) -> list[bytes]:
    _, found, rejected_items = parse_page(orjson.dumps({"features": items}), frozenset())
    assert not rejected_items
    return [item.line for item in found]


def with_asset(**members: Any) -> dict[str, Any]:
    return {**make_item("a", "2024-01-01T00:00:00Z"), "assets": {"zarr": {"href": "abfs://daymet/a.zarr", **members}}}


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_of_storage_options_is_removed_wherever_it_is(name: str) -> None:
    options = {"account_name": "daymeteuwest", name: "s3cr3t"}
    nested = {"account_name": "daymeteuwest", "remote_options": {name: "s3cr3t", "headers": [{name: "s3cr3t"}]}}
    item = with_asset(
        **{
            "xarray:storage_options": options,
            "table:storage_options": nested,
            "xarray:open_kwargs": {"engine": "zarr", "storage_options": options},
        }
    )
    item["properties"]["table:storage_options"] = options
    (line,) = cut(item)
    assert b"s3cr3t" not in line
    asset = loads(line)["assets"]["zarr"]
    assert asset["xarray:storage_options"] == {"account_name": "daymeteuwest"}
    assert asset["xarray:open_kwargs"] == {"engine": "zarr", "storage_options": {"account_name": "daymeteuwest"}}
    assert asset["table:storage_options"]["remote_options"] == {"headers": [{}]}
    collection = {"item_assets": {"zarr": {"table:storage_options": dict(options)}}}
    assert redact_in_place(collection)
    assert collection == {"item_assets": {"zarr": {"table:storage_options": {"account_name": "daymeteuwest"}}}}


def test_signatures_of_addresses_in_storage_options_are_removed() -> None:
    options = {"fo": "https://a.example/r.json?sv=1&sig=s3cr3t", "account_name": "a"}
    (line,) = cut(with_asset(**{"xarray:storage_options": options}))
    assert loads(line)["assets"]["zarr"]["xarray:storage_options"] == {
        "fo": "https://a.example/r.json",
        "account_name": "a",
    }


def test_what_is_no_secret_stays_byte_for_byte() -> None:
    item = with_asset(**{"xarray:storage_options": PLAIN, "xarray:open_kwargs": {"storage_options": PLAIN}})
    assert cut(item) == [orjson.dumps(item)]


def test_members_of_other_names_keep_what_only_looks_like_a_secret() -> None:
    item = with_asset(token="word", credential="x", key={"password": "y"}, storage_options_note={"token": "z"})
    assert cut(item) == [orjson.dumps(item)]


def test_real_items_and_collections_lose_their_credentials_and_nothing_else(corpus_dir: Path) -> None:
    paths = [path for path in corpus_dir.rglob("*.json") if b"storage_options" in path.read_bytes()]
    documents = [orjson.loads(path.read_bytes()) for path in paths]
    for path in corpus_dir.glob("*/items.ndjson"):
        documents += [orjson.loads(line) for line in path.read_bytes().splitlines() if b"storage_options" in line]
    need(bool(documents), "no real item has storage options")
    for document in documents:
        redact_in_place(document)
        signed = copy.deepcopy(document)
        assert sign(signed)
        assert redact_in_place(signed)
        assert signed == document


def sign(value: Any) -> bool:
    """Sign a document as `planetary_computer.sign` does."""
    signed = False
    for name, member in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(name, str) and name.endswith("storage_options"):
            member["credential"] = "st=2024&se=2025&sp=rl&sig=abc"
            signed = True
        elif isinstance(member, dict | list):
            signed |= sign(member)
    return signed


_QUERIES = st.lists(
    st.sampled_from(
        [
            "sig",
            "a",
            "to%6ben",
            "X-Amz-Date",
            "se",
            "own",
            "TOKEN",
            "to\u212aen",
            "\u00e9",
            "s ig",
            "",
            "my+key",
            "t\token",
            'q"x',
        ]
    ),
    max_size=4,
)


@given(
    names=_QUERIES,
    host=st.sampled_from(["h", "u:p@h", "u@h", "h/a@b", "h\\u0040", 'u:p"w@h', "u:p\tw@h", "\n"]),
    slashes=st.sampled_from(["//", "/\t/", "/\n/", "\r//"]),
    member=st.sampled_from(["href", "title", "storage_options", "href\\u0065"]),
    escaped=st.booleans(),
    own=st.sampled_from([frozenset(), frozenset({"own"}), frozenset({"\u00e9"}), frozenset({"my key"})]),
    ascii_only=st.booleans(),
)
def test_a_line_that_counts_as_clean_holds_no_secret(
    names: list[str], host: str, slashes: str, member: str, escaped: bool, own: frozenset[str], ascii_only: bool
) -> None:
    query = "&".join(f"{name}=s3cr3t" for name in names)
    item = {"links": [{member: f"https:{slashes}{host}/x?{query}", "nested": {member: {"token": "s3cr3t"}}}]}
    line = json.dumps(item).encode() if ascii_only else orjson.dumps(item)
    if escaped:
        line = line.replace(b"?", b"\\u003f").replace(b"/", b"\\/")
    if not may_hold_secrets(line, own):
        assert not redact_in_place(orjson.loads(line), own)


def test_most_real_items_count_as_clean(corpus_dir: Path) -> None:
    lines = [line for path in corpus_dir.glob("*/items.ndjson") for line in path.read_bytes().splitlines()]
    need(bool(lines), "there are no real items")
    doubtful = [line for line in lines if may_hold_secrets(line)]
    assert len(doubtful) < len(lines) / 20
    for line in lines:
        assert line in doubtful or not redact_in_place(orjson.loads(line))

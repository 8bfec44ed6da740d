from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_manager.errors import UsageError
from stac_manager.validate import SchemaStore, SchemaUnavailableError
from stac_manager.validate import schema_download as fetch_module
from tests.validate.conftest import SchemaServer

CORE = "https://schemas.stacspec.org/v{0}/{1}-spec/json-schema/{1}.json"


def put(folder: Path, address: str, content: bytes = b'{"type": "object"}') -> Path:
    path = folder / address.partition("://")[2]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def offline(*folders: Path, cache: Path) -> SchemaStore:
    return SchemaStore(folders, offline=True, cache_dir=cache)


def test_folders_come_before_the_environment_the_package_and_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = CORE.format("1.0.0", "item")
    cached, third, second, first = (put(tmp_path / name, address) for name in ("cache", "third", "second", "first"))
    monkeypatch.setenv("STAC_SCHEMA_DIR", os.pathsep.join([str(tmp_path / "second"), str(tmp_path / "third")]))
    assert offline(tmp_path / "first", cache=tmp_path / "cache").locate(address) == first
    assert offline(cache=tmp_path / "cache").locate(address) == second
    second.unlink()
    assert offline(cache=tmp_path / "cache").locate(address) == third
    third.unlink()
    packaged = offline(cache=tmp_path / "cache").locate(address)
    assert packaged != cached
    assert packaged.read_bytes() != cached.read_bytes()


def test_the_cache_comes_before_the_network(server: SchemaServer, online: SchemaStore, tmp_path: Path) -> None:
    address = server.serve("/a.json", b"{}")
    cached = put(tmp_path / "cache", address)
    assert online.locate(address) == cached
    assert server.asked == []


def test_the_environment_is_read_when_the_store_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STAC_SCHEMA_DIR", raising=False)
    address = "https://example.com/a/schema.json"
    path = put(tmp_path / "late", address)
    before = offline(cache=tmp_path / "cache")
    monkeypatch.setenv("STAC_SCHEMA_DIR", str(tmp_path / "late"))
    with pytest.raises(SchemaUnavailableError):
        before.locate(address)
    assert offline(cache=tmp_path / "cache").locate(address) == path


def test_a_schema_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        SchemaStore([tmp_path / "typo"])


def test_the_scheme_and_the_fragment_do_not_matter(schema_dir: Path, tmp_path: Path) -> None:
    store = offline(schema_dir, cache=tmp_path)
    path = schema_dir / "stac-extensions.github.io/eo/v1.1.0/schema.json"
    assert store.locate("https://stac-extensions.github.io/eo/v1.1.0/schema.json#") == path
    assert store.locate("http://STAC-extensions.github.io/eo/v1.1.0/schema.json#/definitions/fields") == path
    assert store.locate("http://json-schema.org/draft-07/schema#") == schema_dir / "json-schema.org/draft-07/schema"


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
@pytest.mark.parametrize("kind", ["item", "collection", "catalog"])
def test_the_packaged_core_schemas_are_the_published_ones(
    version: str, kind: str, schema_dir: Path, tmp_path: Path
) -> None:
    address = CORE.format(version, kind)
    published = offline(schema_dir, cache=tmp_path).locate(address)
    packaged = offline(cache=tmp_path).locate(address)
    assert packaged != published
    assert packaged.read_bytes() == published.read_bytes()


def test_every_packaged_copy_is_byte_identical(schema_dir: Path) -> None:
    from stac_manager import validate

    root = Path(validate.__file__).parent / "schemas"
    copies = sorted(root.rglob("*.json"))
    assert len(copies) == 8
    assert all(path.read_bytes() == (schema_dir / path.relative_to(root)).read_bytes() for path in copies)


@pytest.mark.parametrize(
    "address",
    [
        "https://example.com/../../secret.json",
        "https://example.com/a/../../../secret.json",
        "https://../secret.json",
        "https://example.com/..\\..\\secret.json",
        "https://example.com//etc/passwd",
        "file:///etc/passwd",
        "/etc/passwd",
        "../secret.json",
        "eo",
        "",
        "https://",
        "https://example.com",
        "https://example.com/",
        "https://user:pass@example.com/schema.json",
        "https://example.com/schema.json?token=x",
        "https://example.com/a b.json",
        "https://example.com/a\n.json",
        "https://example.com/a\x00.json",
        "https://[::1/schema.json",
        "https://example.com/" + "a" * 5000,
    ],
)
def test_an_address_never_leaves_the_schema_folders(address: str, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "schemas"
    folder.mkdir(parents=True)
    for place in (tmp_path, tmp_path / "deep", folder):
        (place / "secret.json").write_text("{}")
    with pytest.raises(SchemaUnavailableError):
        offline(folder, cache=tmp_path / "cache").locate(address)


@given(st.text(max_size=60).map(lambda text: f"https://{text}"))
def test_any_address_is_found_inside_or_not_at_all(tmp_path_factory: pytest.TempPathFactory, address: str) -> None:
    root = tmp_path_factory.getbasetemp() / "empty"
    root.mkdir(exist_ok=True)
    with pytest.raises(SchemaUnavailableError):
        offline(root, cache=root).locate(address)


@pytest.mark.parametrize("content", [b"<html>moved</html>", b"[1]", b'{"a": NaN}', b"", b'{"a": 1,}'])
def test_a_file_that_is_no_schema_is_unavailable_with_its_name(content: bytes, tmp_path: Path) -> None:
    address = "https://example.com/a/schema.json"
    path = put(tmp_path, address, content)
    with pytest.raises(SchemaUnavailableError, match=f"^{path} is not"):
        offline(tmp_path, cache=tmp_path / "cache").load(address)


@pytest.mark.usefixtures("socket_disabled")
def test_an_offline_store_opens_no_socket(tmp_path: Path) -> None:
    store = offline(cache=tmp_path)
    with pytest.raises(SchemaUnavailableError, match="network is not to be used"):
        store.locate("https://stac-extensions.github.io/eo/v1.1.0/schema.json")


def test_a_schema_from_the_network_is_kept_in_the_cache(
    server: SchemaServer, online: SchemaStore, tmp_path: Path
) -> None:
    address = server.serve("/eo/v1.1.0/schema.json", b'{"title": "eo"}')
    assert online.load(address) == {"title": "eo"}
    assert online.locate(address) == tmp_path / "cache" / server.host / "eo/v1.1.0/schema.json"
    assert online.locate(address + "#") == online.locate(address)
    assert server.asked == ["/eo/v1.1.0/schema.json"]
    assert offline(cache=tmp_path / "cache").load(address) == {"title": "eo"}
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == ["schema.json"]


def test_the_cache_is_where_xdg_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = put(tmp_path / "stac-manager" / "schemas", "https://example.com/a/schema.json")
    assert SchemaStore(offline=True).locate("https://example.com/a/schema.json") == path


def test_a_failure_is_remembered_for_the_life_of_the_store(server: SchemaServer, online: SchemaStore) -> None:
    for _ in range(3):
        with pytest.raises(SchemaUnavailableError, match="HTTP 404"):
            online.locate(f"{server.url}/none.json")
    assert server.asked == ["/none.json"]


def test_a_server_that_is_briefly_out_of_order_is_asked_again(server: SchemaServer, online: SchemaStore) -> None:
    address = server.serve("/busy.json", b"", status=503)
    with pytest.raises(SchemaUnavailableError, match="HTTP 503"):
        online.locate(address)
    assert server.asked == ["/busy.json"] * 3


def test_html_with_status_200_is_not_kept(server: SchemaServer, online: SchemaStore, tmp_path: Path) -> None:
    address = server.serve("/moved.json", b"<!doctype html><title>Sign in</title>")
    with pytest.raises(SchemaUnavailableError, match="the server's answer is not JSON"):
        online.locate(address)
    assert not list(tmp_path.rglob("moved.json"))


def test_a_damaged_cache_file_is_fetched_again(server: SchemaServer, online: SchemaStore, tmp_path: Path) -> None:
    address = server.serve("/a.json", b"{}")
    put(tmp_path / "cache", address, b"<html>")
    assert online.load(address) == {}


def test_a_cut_answer_is_not_taken_for_the_schema(server: SchemaServer, online: SchemaStore) -> None:
    address = server.serve("/cut.json", b"{}", headers={"Content-Length": "9"})
    with pytest.raises(SchemaUnavailableError, match="cannot be reached"):
        online.locate(address)


def test_an_answer_without_end_is_cut_off(
    server: SchemaServer, online: SchemaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_module, "MAX_BYTES", 1000)
    address = server.serve("/large.json", json.dumps({"a": "x" * 2000}).encode())
    with pytest.raises(SchemaUnavailableError, match="larger than 1000 bytes"):
        online.locate(address)


def test_a_private_host_is_not_asked_unless_it_is_named(server: SchemaServer, tmp_path: Path) -> None:
    address = server.serve("/latest/meta-data", b"{}")
    with pytest.raises(SchemaUnavailableError, match=r"127\.0\.0\.1 is in a private network"):
        SchemaStore(cache_dir=tmp_path).locate(address)
    assert server.asked == []


def test_a_redirect_to_a_private_host_is_not_followed(server: SchemaServer, online: SchemaStore) -> None:
    port = server.host.rpartition(":")[2]
    server.serve("/inside.json", b"{}")
    address = server.serve("/a.json", b"", status=302, headers={"Location": f"http://127.0.0.2:{port}/inside.json"})
    with pytest.raises(SchemaUnavailableError, match=r"127\.0\.0\.2 is in a private network"):
        online.locate(address)
    other = server.serve("/b.json", b"", status=302, headers={"Location": "file:///etc/passwd"})
    with pytest.raises(SchemaUnavailableError):
        online.locate(other)
    assert "/inside.json" not in server.asked


def test_a_redirect_on_the_same_host_is_followed(server: SchemaServer, online: SchemaStore) -> None:
    server.serve("/new.json", b'{"title": "new"}')
    address = server.serve("/old.json", b"", status=301, headers={"Location": "/new.json"})
    assert online.load(address) == {"title": "new"}


def test_a_cache_that_cannot_be_written_is_a_reason_not_a_crash(server: SchemaServer, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    store = SchemaStore(cache_dir=tmp_path / "cache", allow_hosts=["127.0.0.1"])
    with pytest.raises(SchemaUnavailableError, match="cannot be stored in the cache"):
        store.locate(server.serve("/a.json", b"{}"))


def test_a_schema_file_of_the_users_own_goes_by_its_id(tmp_path: Path) -> None:
    store = offline(cache=tmp_path)
    named, plain = tmp_path / "named.json", tmp_path / "plain.json"
    named.write_text('{"$id": "https://example.com/own.json#"}')
    plain.write_text("{}")
    assert store.add_file(named) == "https://example.com/own.json"
    assert store.locate("https://example.com/own.json") == named
    assert store.add_file(plain) == str(plain)
    with pytest.raises(UsageError, match="cannot be used as a schema"):
        store.add_file(tmp_path / "missing.json")

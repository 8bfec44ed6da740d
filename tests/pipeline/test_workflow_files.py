"""Files that a workflow names count by their content, for the stage that reads them and for no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from demo.server import create_app, serve
from stac_manager.pipeline import STAGES, code_version
from stac_manager.pipeline.stages.content_hash import hash_of_files
from tests.pipeline.site import Site
from tests.stac_items import make_collection, make_item

SCHEMA = {"$id": "https://schemas.test/strict/v1.0.0/schema.json", "type": "object"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    schema = tmp_path / "schemas/schemas.test/strict/v1.0.0/schema.json"
    schema.parent.mkdir(parents=True)
    schema.write_bytes(orjson.dumps(SCHEMA))
    items = [make_item(f"i{number}", f"2024-01-{number + 1:02}T00:00:00Z", number=number) for number in range(4)]
    for item in items:
        item["stac_extensions"] = [SCHEMA["$id"]]
    with serve(create_app([make_collection()], items)) as url:
        validation = {"schema_dirs": [str(tmp_path / "schemas")], "offline": True}
        yield Site(url, items, tmp_path, validation=validation)


def versions(site: Site) -> dict[str, str]:
    return {stage: code_version(site.chain.workflow, stage) for stage in STAGES}


def test_a_changed_schema_makes_the_validated_stage_stale_and_no_other(site: Site) -> None:
    site.sync()
    before = versions(site)
    assert len(site.published()) == 4
    wanted = {"properties": {"properties": {"properties": {"number": {"maximum": 2}}}}}
    (site.folder / "schemas/schemas.test/strict/v1.0.0/schema.json").write_bytes(orjson.dumps({**SCHEMA, **wanted}))
    assert {stage for stage in STAGES if versions(site)[stage] != before[stage]} == {"validated"}
    assert all(result.changes.deleted == (key == "2024-01") for key, result in site.sync().items())
    assert len(site.published()) == 3


def test_names_and_content_count_and_times_and_places_do_not(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub/a.json").write_text("{}")
    one, two = tmp_path / "one", tmp_path / "two"
    assert hash_of_files([one]) == hash_of_files([two])
    before = hash_of_files([one])
    (one / "sub/a.json").touch()
    assert hash_of_files([one]) == before
    (one / "sub/a.json").rename(one / "sub/b.json")
    renamed = hash_of_files([one])
    assert renamed != before
    (one / "sub/b.json").write_text("[]")
    assert hash_of_files([one]) not in (before, renamed)


def test_a_file_that_comes_or_goes_counts(tmp_path: Path) -> None:
    missing = hash_of_files([tmp_path / "mapping.yaml"])
    (tmp_path / "mapping.yaml").write_text("")
    assert hash_of_files([tmp_path / "mapping.yaml"]) != missing
    (tmp_path / "mapping.yaml").unlink()
    assert hash_of_files([tmp_path / "mapping.yaml"]) == missing
    assert hash_of_files([]) == []

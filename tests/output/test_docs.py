"""The snippets of docs/parquet.md run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.output.make import item, write

PAGE = Path(__file__).parents[2] / "docs" / "parquet.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_it_runs(snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    items = [item("a", **{"eo:cloud_cover": 3.5}), item("b", **{"eo:cloud_cover": 1.5})]
    write(items, tmp_path / "things.parquet")
    (tmp_path / "items").mkdir()
    write([item("c")], tmp_path / "items" / "2024-01.parquet")
    write(items, tmp_path / "items" / "2024-02.parquet")
    names = {"items": items, "collection": {"type": "Collection", "id": "things"}}
    exec(compile(snippet, str(PAGE), "exec"), names)
    if "rows" in names:
        assert [row[0] for row in names["rows"]] == ["b", "a"]
    if "frame" in names:
        assert list(names["frame"]["id"]) == ["a", "b"]
    if "many" in names:
        assert [(row[0], row[2]) for row in names["many"]] == [("a", 3.5), ("b", 1.5), ("c", None)]
    if "everything" in names:
        assert sorted(names["everything"]["id"]) == ["a", "b", "c"]
    if "feature_collection" in names:
        assert len(names["feature_collection"]["features"]) == 2


def test_there_are_snippets_for_every_reader():
    text = "".join(SNIPPETS)
    assert all(name in text for name in ("stac_table_to_items", "rustac.read", "duckdb.sql", "geopandas.read_parquet"))

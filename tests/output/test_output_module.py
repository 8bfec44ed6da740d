from __future__ import annotations

from pathlib import Path

import pytest

import stac_manager.output
from stac_manager.errors import UsageError
from stac_manager.output import OutputModule, read_geoparquet
from stac_manager.registry import OUTPUTS
from tests.output.make import item


def test_the_public_names_are_all_there_and_sorted():
    names = stac_manager.output.__all__
    assert names == sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name))
    assert all(hasattr(stac_manager.output, name) for name in names)


def test_a_format_is_looked_up_by_its_name(tmp_path: Path):
    assert OutputModule.write([item()], tmp_path / "f.parquet", "parquet").rows == 1
    assert OutputModule().write(lambda: iter([item()]), tmp_path / "g.parquet", format="parquet").rows == 1
    assert (tmp_path / "f.parquet").read_bytes() == (tmp_path / "g.parquet").read_bytes()
    assert len(list(read_geoparquet(tmp_path / "f.parquet"))) == 1


def test_an_unknown_format_names_the_known_ones(tmp_path: Path):
    assert "csv" not in OUTPUTS
    with pytest.raises(UsageError, match="output format 'csv' is not supported yet; supported: parquet"):
        OutputModule.write([item()], tmp_path / "f.csv", "csv")
    assert not (tmp_path / "f.csv").exists()

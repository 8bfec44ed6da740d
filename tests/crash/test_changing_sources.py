"""A source that changes all the time while it is read."""

from __future__ import annotations

import threading
from pathlib import Path
from random import Random

import pytest

from tests.crash.catalogs import Catalog, Source


@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_a_source_that_changed_while_it_was_read_is_taken_over_once_it_is_still(tmp_path: Path, mode: str) -> None:
    source, chance, still = Source(), Random(mode), threading.Event()

    def keep_changing() -> None:
        while not still.wait(0.15):
            source.change(chance)

    with source.serve() as url:
        catalog = Catalog(tmp_path / "one", url)
        catalog.run("full")
        source.slow = 0.05
        changing = threading.Thread(target=keep_changing)
        changing.start()
        try:
            for _ in range(2):
                done = catalog.run(mode)
                assert done.status in (0, 1) or "left it out of its window" in done.out, done.out
        finally:
            still.set()
            changing.join()
        source.slow = 0.0
        for _ in range(2):
            # what is gone is more than a run takes away by itself
            assert catalog.run("incremental", "--allow-deletes").status in (0, 1)
        found = catalog.published()
        assert {item_id: where for item_id, where in found.items() if len(where) > 1} == {}
        assert {item_id: where[0][1] for item_id, where in found.items()} == source.valid()
        assert catalog.leftovers() == []

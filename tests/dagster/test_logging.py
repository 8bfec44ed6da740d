"""The workflow's `logging` section holds in Dagster's processes too."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stac_assets.definitions import build_defs
from tests.dagster.conftest import Site
from tests.workflows import make_workflow

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
]


@pytest.fixture(autouse=True)
def _library_logger_as_before() -> Iterator[None]:
    library = logging.getLogger("stac_manager")
    level, handlers = library.level, list(library.handlers)
    yield
    for handler in [each for each in library.handlers if each not in handlers]:
        handler.close()
    library.setLevel(level)
    library.handlers = handlers


def with_logging(site: Site, **logging_section: str) -> Site:
    workflow = make_workflow(site.folder, site.workflow.source.address, logging=logging_section)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return replace(site, workflow=workflow, definitions=build_defs([workflow]))


def test_a_run_logs_to_the_workflows_file_each_record_once(site: Site) -> None:
    file = site.folder / "logs" / "w.log"
    root = list(logging.getLogger().handlers)
    logged = with_logging(site, level="DEBUG", file=str(file))
    assert logged.run("2024-01").success
    assert logged.run("2024-02").success
    assert logging.getLogger().handlers == root
    library = logging.getLogger("stac_manager")
    library.debug("told once")
    assert file.read_text().count("told once") == 1


def test_a_file_that_cannot_be_opened_fails_the_run(site: Site, tmp_path: Path) -> None:
    (tmp_path / "w").write_text("a file")
    assert not with_logging(site, file=str(tmp_path / "w" / "w.log")).run("2024-01").success

"""What one tick remembers does not hold up the next one."""

from __future__ import annotations

import pytest

from tests.dagster.conftest import QUIET, Site, site
from tests.dagster.test_sensors import ALL, partitions, tick
from tests.stac_items import make_item

__all__ = ["site"]

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
]


def test_the_month_that_an_item_left_is_asked_for_at_once_also_just_after_it_was_built(site: Site) -> None:
    site.items.append(make_item("moves", "2024-02-06T00:00:00Z"))
    requests, cursor = tick(site)
    assert partitions(requests) == ALL
    site.run("2024-01", "2024-03")
    assert tick(site, cursor)[0] == []
    site.items[-1] = make_item("moves", "2024-03-06T00:00:00Z")
    job = site.definitions.resolve_job_def("rebuild_w_c")
    tags = {"stac_manager/mode": "scan"}
    job.execute_in_process(partition_key="2024-03", instance=site.instance, run_config=QUIET, tags=tags)
    assert partitions(tick(site, cursor)[0]) == ["2024-02"]

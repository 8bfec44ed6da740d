"""Leaves the long tests out unless they are asked for."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "endurance" in config.option.markexpr:
        return
    for item in items:
        if item.get_closest_marker("endurance"):
            item.add_marker(pytest.mark.skip(reason="takes minutes; run with -m endurance"))

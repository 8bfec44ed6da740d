from __future__ import annotations

from typing import Any

import pytest

from demo.server import create_app, serve
from stac_manager.discovery import CollectionFilter, DiscoveryModule
from stac_manager.geometry import boxes_touch, flat_bbox, longitude_spans
from tests.stac_items import make_collection


@pytest.mark.parametrize("bbox", [[1, 2, 3, 4], (1, 2, -9, 3, 4, 9)])
def test_a_bbox_of_four_or_six_numbers_is_flat(bbox: Any) -> None:
    assert flat_bbox(bbox) == (1, 2, 3, 4)


@pytest.mark.parametrize("bbox", [[], [1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6, 7]])
def test_a_bbox_of_another_size_is_none(bbox: Any) -> None:
    with pytest.raises(ValueError, match="4 or 6 numbers"):
        flat_bbox(bbox)


def test_a_bbox_across_the_antimeridian_has_two_spans() -> None:
    assert longitude_spans(10, 20) == [(10, 20)]
    assert longitude_spans(170, -170) == [(170, 180), (-180, -170)]


@pytest.mark.parametrize(
    ("one", "other", "touch"),
    [
        ((0, 0, 1, 1), (1, 1, 2, 2), True),
        ((0, 0, 1, 1), (0, 1.1, 1, 2), False),
        ((170, 0, -170, 1), (-175, 0, -174, 1), True),
        ((170, 0, -170, 1), (175, 0, -175, 1), True),
        ((170, 0, -170, 1), (0, 0, 10, 1), False),
    ],
)
def test_boxes_touch_where_they_share_a_point(one: Any, other: Any, touch: bool) -> None:
    assert boxes_touch(one, other) is touch
    assert boxes_touch(other, one) is touch


def test_a_collection_whose_bbox_has_five_numbers_is_left_out() -> None:
    whole, broken = make_collection(), {**make_collection(), "id": "broken"}
    broken["extent"] = {**broken["extent"], "spatial": {"bbox": [[-180, -90, 0, 180, 90]]}}
    with serve(create_app([whole, broken], [])) as url:
        found = DiscoveryModule(url).collections(CollectionFilter(bbox=[0, 0, 1, 1]))
    assert [each["id"] for each in found] == [whole["id"]]

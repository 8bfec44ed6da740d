from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_manager.items import Item
from stac_manager.output import PartitionSummary
from tests.output.make import item


def summary(*items: Item) -> PartitionSummary:
    made = PartitionSummary()
    for one in items:
        made.add(one)
    return made


def boxed(*bbox: float) -> Item:
    return item(top={"bbox": list(bbox)})


def values(**properties: list[Any]) -> dict[str, Any]:
    rows = itertools.zip_longest(*properties.values())
    return summary(*(item(**dict(zip(properties, row, strict=True))) for row in rows)).summaries


def test_nothing_is_known_of_no_items():
    empty = PartitionSummary()
    assert (empty.rows, empty.bbox, empty.interval, empty.summaries) == (0, None, None, {})


def test_the_bbox_holds_every_item_and_no_height():
    assert summary(boxed(10, 45, 11, 46.5), boxed(-5, 0, -100, 9, 1, 100)).bbox == [-5, 0, 11, 46.5]


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([(170, 0, 179, 1), (-179, 0, -170, 1)], [-179, 0, 179, 1]),
        ([(179, 0, -179, 1)], [179, 0, -179, 1]),
        ([(179, 0, -179, 1), (178, 0, -178, 1)], [178, 0, -178, 1]),
        ([(179, 0, -179, 1), (170, 0, 175, 1), (-175, 0, -170, 1)], [170, 0, -170, 1]),
        ([(179, 0, -179, 1), (-1, 0, 1, 1)], [-180, 0, 180, 1]),
        ([(1, 0, -179, 1), (179, 0, -1, 1)], [1, 0, -1, 1]),
        ([(5, 0, -20, 1), (20, 0, 6, 1)], [-180, 0, 180, 1]),
    ],
    ids=["no-item-crosses", "one", "all", "both-sides", "one-at-greenwich", "wide", "all-around"],
)
def test_items_across_the_antimeridian_give_a_bbox_that_crosses_it(boxes: list, expected: list):
    assert summary(*(boxed(*box) for box in boxes)).bbox == expected


@pytest.mark.parametrize("bbox", [None, [], [1, 2, 3], ["1", "2", "3", "4"], "1,2,3,4", ...])
def test_a_bbox_that_is_none_is_passed_over(bbox: Any):
    assert summary(item(top={"bbox": bbox}), item()).bbox == [10, 45, 11, 46.5]


def test_the_interval_reaches_from_the_first_start_to_the_last_end():
    found = summary(
        item(datetime="2024-02-01T00:00:00.5+01:00"),
        item(datetime=None, start_datetime="2024-01-01T00:00:00Z", end_datetime="2024-12-31T00:00:00Z"),
        item(datetime="not a time"),
    )
    assert found.interval == ["2024-01-01T00:00:00Z", "2024-12-31T00:00:00Z"]
    assert summary(item(datetime="2024-02-01T00:00:00.5+01:00")).interval == ["2024-01-31T23:00:00.500000Z"] * 2


def test_numbers_give_a_range_and_texts_their_values():
    found = values(cloud=[3, 0.5, None], platform=["b", "a", "b"], ok=[True, False, True], tags=[["x"], ["y", "x"], []])
    assert found == {
        "cloud": {"minimum": 0.5, "maximum": 3},
        "platform": ["a", "b"],
        "ok": [False, True],
    }
    assert values(instruments=[["msi"], ["oli", "msi"]]) == {"instruments": ["msi", "oli"]}


def test_codes_are_values_and_not_a_range():
    assert values(**{"proj:epsg": [32632, 32631, 32632]}) == {"proj:epsg": [32631, 32632]}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("many", [f"v{number}" for number in range(26)]),
        ("mixed", [1, "one"]),
        ("objects", [{"a": 1}]),
        ("lists-of-numbers", [[1, 2]]),
        ("mixed-list", [["a", 1]]),
        ("long", ["x" * 65]),
        ("time", ["2024-01-01T00:00:00Z"]),
        ("created", ["2024-01-01T00:00:00Z"]),
        ("s2:product_uri", ["S2A.SAFE"]),
        ("s2:granule_id", ["x"]),
        ("link", ["https://example.com/x"]),
        ("title", ["A title"]),
    ],
)
def test_what_would_say_nothing_is_left_out(name: str, found: list):
    assert values(**{name: found, "kept": ["x"]}) == {"kept": ["x"]}


def test_twenty_five_values_are_listed():
    assert len(values(v=[f"v{number:02}" for number in range(25)])["v"]) == 25


SOME_ITEMS = st.lists(
    st.builds(
        lambda west, width, properties: item(
            top={"bbox": [west, 0, (west + width + 180) % 360 - 180, 1]}, **properties
        ),
        st.integers(-180, 179),
        st.integers(0, 300),
        st.dictionaries(st.sampled_from("abc"), st.sampled_from([1, 2.5, "x", "y", True, ["x", "z"], None])),
    ),
    max_size=6,
)


@given(SOME_ITEMS, SOME_ITEMS)
def test_merged_parts_say_what_the_whole_says(one: list[Item], other: list[Item]):
    whole, first, second = summary(*one, *other), summary(*one), summary(*other)
    assert first.merge([second]) == whole
    assert PartitionSummary().merge([second, first]).to_dict() == whole.to_dict()


@given(SOME_ITEMS)
def test_a_summary_survives_json(items: list[Item]):
    made = summary(*items)
    again = PartitionSummary.from_dict(orjson.loads(orjson.dumps(made.to_dict())))
    assert again == made
    assert (again.bbox, again.interval, again.summaries) == (made.bbox, made.interval, made.summaries)


def test_merging_leaves_the_parts_alone():
    one, other = summary(item(v="a")), summary(item(v="b"))
    one.merge([other])
    assert (one.rows, one.summaries) == (1, {"v": ["a"]})

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stac_manager.validate import ItemVerdict, ReportBuilder, SchemaFailure, Verdict

EO = "https://stac-extensions.github.io/eo/v1.1.0/schema.json"


def verdict(item_id: str, kind: Verdict, *errors: SchemaFailure, lenient: bool = False) -> ItemVerdict:
    return ItemVerdict(item_id, "c", kind, errors, accepted=kind is not Verdict.INVALID or lenient, lenient=lenient)


def low(path: str = "properties.eo:cloud_cover", value: object = "'low'") -> SchemaFailure:
    return SchemaFailure(EO, path, f"{value} is not of type 'number'")


def filled() -> ReportBuilder:
    report = ReportBuilder()
    report.add(verdict("a", Verdict.VALID))
    report.add(verdict("b", Verdict.INVALID, low()))
    report.add(verdict("ü", Verdict.UNCHECKED, SchemaFailure("https://x.org/s.json", "", "unavailable: HTTP 404")))
    report.add(verdict("d", Verdict.INVALID, low(), lenient=True))
    return report


def test_the_report_counts_all_and_lists_what_is_not_valid(tmp_path: Path) -> None:
    filled().write(tmp_path / "report.json")
    error = {"schema": EO, "path": "properties.eo:cloud_cover", "message": "'low' is not of type 'number'"}
    missing = {"schema": "https://x.org/s.json", "path": "", "message": "unavailable: HTTP 404"}
    assert json.loads((tmp_path / "report.json").read_bytes()) == {
        "valid": 1,
        "invalid": 2,
        "unchecked": 1,
        "items": [
            {"id": "b", "collection": "c", "verdict": "invalid", "errors": [error]},
            {"id": "ü", "collection": "c", "verdict": "unchecked", "errors": [missing]},
            {"id": "d", "collection": "c", "verdict": "invalid", "lenient": True, "errors": [error]},
        ],
    }


def test_same_verdicts_give_same_bytes(tmp_path: Path) -> None:
    report = filled()
    report.write(tmp_path / "a.json")
    report.write(tmp_path / "again.json")
    filled().write(tmp_path / "b.json")
    first = (tmp_path / "a.json").read_bytes()
    assert first == (tmp_path / "again.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_report_can_be_written_and_go_on(tmp_path: Path) -> None:
    report = filled()
    report.write(tmp_path / "a.json")
    report.add(verdict("e", Verdict.INVALID, low()))
    report.write(tmp_path / "a.json")
    assert [entry["id"] for entry in json.loads((tmp_path / "a.json").read_bytes())["items"]] == ["b", "ü", "d", "e"]


@pytest.mark.parametrize("verdicts", [[], [verdict("a", Verdict.VALID)]])
def test_a_report_without_failures_is_a_whole_report(verdicts: list[ItemVerdict], tmp_path: Path) -> None:
    report = ReportBuilder()
    for each in verdicts:
        report.add(each)
    report.write(tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_bytes())["items"] == []
    assert report.counts == {"valid": len(verdicts), "invalid": 0, "unchecked": 0}


def test_the_top_reasons_are_grouped_without_numbers() -> None:
    report = ReportBuilder()
    report.add(verdict("z", Verdict.INVALID, SchemaFailure("", "type", "`type` is missing")))
    for number in range(5):
        failure = low(f"assets.B{number}.bands[{number}].center", -number - 0.5)
        report.add(verdict(str(number), Verdict.INVALID, failure))
    v2 = SchemaFailure(EO.replace("v1.1.0", "v2.0.0"), "assets.B1.bands[1].center", "-1.5 is not of type 'number'")
    report.add(verdict("v2", Verdict.INVALID, v2))
    assert report.top_reasons() == [
        (f"assets.B0.bands[0].center: -0.5 is not of type 'number' ({EO})", 5),
        ("type: `type` is missing", 1),
        (f"assets.B1.bands[1].center: -1.5 is not of type 'number' ({v2.schema})", 1),
    ]
    assert len(report.top_reasons(1)) == 1


def test_many_invalid_items_take_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    report = ReportBuilder()
    tracemalloc.start()
    for number in range(20_000):
        letters = "".join(chr(97 + int(digit)) for digit in str(number))
        report.add(verdict(str(number), Verdict.INVALID, low(value=f"'{letters}' " + "x" * 300)))
    report.write(tmp_path / "a.json")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "a.json").stat().st_size > 8_000_000
    assert peak < 15_000_000

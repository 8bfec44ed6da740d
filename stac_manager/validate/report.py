"""The validation report: counts, and every object that is not valid, with the reasons."""

from __future__ import annotations

import re
import shutil
import tempfile
import weakref
from collections import Counter
from pathlib import Path

import orjson

from stac_manager.errors import StorageError
from stac_manager.files import atomic_file
from stac_manager.validate.verdicts import ItemVerdict, SchemaFailure, Verdict

__all__ = ["ReportBuilder"]

_MOST_REASONS = 10_000
"""Different reasons to count; it bounds memory."""
_DIGITS = re.compile(r"\d+")


class ReportBuilder:
    """Collects verdicts and writes the report. Its memory use does not grow with the number of verdicts.

    The report is `{"valid": n, "invalid": n, "unchecked": n, "items": [{"id", "collection", "verdict", "errors":
    [{"schema", "path", "message"}]}]}`; `items` lists what is not valid, in the order of `add`. An invalid object
    that level `lenient` let through has `"lenient": true`.
    """

    def __init__(self) -> None:
        self.counts = dict.fromkeys(Verdict, 0)
        self._entries = tempfile.TemporaryFile(prefix="stac-manager-")  # noqa: SIM115 - lives as long as the report
        weakref.finalize(self, self._entries.close)
        self._listed = 0
        self._reasons: Counter[tuple[str, str]] = Counter()
        self._examples: dict[tuple[str, str], str] = {}

    def add(self, verdict: ItemVerdict) -> None:
        """Add one verdict.

        Raises:
            StorageError: the temporary folder is full.
        """
        self.counts[verdict.verdict] += 1
        if verdict.verdict is Verdict.VALID:
            return
        try:
            self._entries.write((b",\n" if self._listed else b"\n") + orjson.dumps(_entry(verdict)))
        except OSError as error:
            raise StorageError(f"no room for the validation report: {error.strerror or error}") from None
        self._listed += 1
        for failure in verdict.errors:
            self._count(failure)

    def add_valid(self, count: int) -> None:
        """Add so many verdicts on valid objects; where they were found does not matter."""
        self.counts[Verdict.VALID] += count

    def _count(self, failure: SchemaFailure) -> None:
        text = f"{failure.path}: {failure.message}" if failure.path else failure.message
        key = (failure.schema, _DIGITS.sub("0", text))
        if key not in self._examples:
            if len(self._examples) >= _MOST_REASONS:
                return
            self._examples[key] = f"{text} ({failure.schema})" if failure.schema else text
        self._reasons[key] += 1

    def top_reasons(self, n: int = 10) -> list[tuple[str, int]]:
        """The most frequent reasons, each with the number of objects, the most frequent first.

        Reasons that differ only in numbers count as one, and the first of them is shown. Only the first 10,000
        different reasons are counted.
        """
        ranked = sorted(self._reasons.items(), key=lambda entry: (-entry[1], entry[0]))
        return [(self._examples[key], count) for key, count in ranked[:n]]

    def write(self, path: Path) -> None:
        """Write the report as JSON. The same verdicts in the same order give the same bytes.

        Raises:
            StorageError: the file cannot be written; an earlier file is unchanged.
        """
        head = orjson.dumps({str(verdict): count for verdict, count in self.counts.items()})
        with atomic_file(path) as staging, staging.open("wb") as file:
            file.write(head[:-1] + b',"items":[')
            self._entries.seek(0)
            shutil.copyfileobj(self._entries, file)
            file.write(b"\n]}\n")


def _entry(verdict: ItemVerdict) -> dict[str, object]:
    errors = [{"schema": error.schema, "path": error.path, "message": error.message} for error in verdict.errors]
    mark = {"lenient": True} if verdict.lenient else {}
    return {
        "id": verdict.item_id,
        "collection": verdict.collection,
        "verdict": verdict.verdict.value,
        **mark,
        "errors": errors,
    }

"""A run that is killed right before each of its writes, one after the other."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tests.crash.catalogs import Catalog, Source
from tests.crash.test_kills import check_view, differences

# counts what changes a folder, and sends the process the signal itself, so that the moment is always the same one
COUNTED = """
import os, sys
root, last, seen = os.environ["COUNTED"], int(os.environ["LAST"]), 0
def heard(event, args):
    global seen
    if event not in ("open", "os.rename", "os.remove", "os.mkdir") or not str(args[0]).startswith(root):
        return
    if event == "open" and not set(str(args[1])) & set("wxa"):
        return
    seen += 1
    if seen == last:
        os.kill(os.getpid(), 9)
sys.addaudithook(heard)
from stac_manager.cli import run
status = run(sys.argv[1:])
print("writes", seen)
sys.exit(status)
"""


@dataclass
class Trial:
    """A catalog before and after a run, and one whose runs are killed."""

    before: Catalog
    after: Catalog
    hit: Catalog
    mode: str
    writes: int = 0

    def count(self) -> None:
        """The run that is not killed; counts its writes."""
        shutil.copytree(self.before.data, self.after.data)
        done = self.after.start(self.mode, code=COUNTED, COUNTED=str(self.after.data), LAST="0").end()
        assert done.status == 1, done.out
        self.writes = int(done.out.split("writes ")[1])

    def kill_at(self, number: int, *, before_deletions: bool = False) -> None:
        """Kill a run right before a write, or before what it deleted last; then look, run again, and look again."""
        shutil.rmtree(self.hit.data, ignore_errors=True)
        shutil.copytree(self.before.data, self.hit.data)
        done = self.hit.start(self.mode, code=COUNTED, COUNTED=str(self.hit.data), LAST=str(number)).end()
        assert done.status == -9, (number, done.out)
        if before_deletions:
            self.undo_deletions()
        check_view(self.hit.readable(), self.before.readable(), self.after.readable())
        self.hit.age_leftovers()
        done = self.hit.run(self.mode)
        assert done.status in (0, 1), (number, done.out)
        assert self.hit.leftovers() == self.after.leftovers(), number
        assert differences(self.after, self.hit) == [], number

    def undo_deletions(self) -> None:
        """The stage that was finished last has the files of the generation before as well."""
        manifests = list(self.hit.data.glob("stages/c/*/*/manifest.json"))
        folder = max(manifests, key=lambda path: path.stat().st_mtime_ns).parent.relative_to(self.hit.data)
        gone = [
            path for path in (self.before.data / folder).iterdir() if not (self.hit.data / folder / path.name).exists()
        ]
        for path in gone:
            shutil.copy(path, self.hit.data / folder)
        if gone and folder.parent.name == "published":
            (self.hit.data / folder / "publish-intent").touch()


@pytest.fixture(params=["full", "incremental"])
def trial(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Trial]:
    source, mode = Source(), request.param
    with source.serve() as url:
        trial = Trial(*(Catalog(tmp_path / name, url) for name in ("before", "after", "hit")), mode)
        trial.before.run(mode)
        trial.before.run("incremental")  # by now it is known how far back to ask for updates
        source.change(Random(1))
        trial.count()
        yield trial


def test_a_run_that_is_killed_before_some_write_is_made_good_by_the_next_one(trial: Trial) -> None:
    for number in Random(1).sample(range(1, trial.writes + 1), 3):
        trial.kill_at(number)


def test_what_a_killed_run_did_not_come_to_delete_is_deleted_by_the_next_one(trial: Trial) -> None:
    for number in range(8, trial.writes, trial.writes // 4):
        trial.kill_at(number, before_deletions=True)


@pytest.mark.endurance
def test_a_run_that_is_killed_before_any_write_is_made_good_by_the_next_one(trial: Trial) -> None:
    for number in range(1, trial.writes + 1):
        trial.kill_at(number)

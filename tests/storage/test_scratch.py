from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from stac_manager.errors import StorageError
from stac_manager.scratch import scratch_folder
from tests.storage.processes import ROOT, kill, other_process, said

USE_A_FOLDER = """
from stac_manager.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "big").write_bytes(b"x" * 1000)
    print(folder, flush=True)
    input()
"""


def use_a_folder_elsewhere(temporary: Path) -> None:
    """A new process comes by, uses a folder, and ends well."""
    code = "from stac_manager.scratch import scratch_folder\nwith scratch_folder() as folder: pass"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "TMPDIR": str(temporary)}, check=True)


def grow_old(folder: Path, seconds: float = 120) -> None:
    then = time.time() - seconds
    os.utime(folder, (then, then))


def test_a_folder_is_empty_and_private_and_gone_after_the_block() -> None:
    with scratch_folder() as folder, scratch_folder() as another:
        assert folder != another
        assert list(folder.iterdir()) == []
        assert folder.parent.stat().st_mode & 0o777 == 0o700
        (folder / "below").mkdir()
        (folder / "below" / "file").write_text("x")
    assert not folder.parent.exists()


def test_a_folder_is_gone_after_an_error_too() -> None:
    with pytest.raises(RuntimeError), scratch_folder() as folder:
        raise RuntimeError
    assert not folder.parent.exists()


def test_a_folder_of_a_killed_process_is_removed_by_a_later_one(tmp_path: Path) -> None:
    with other_process(USE_A_FOLDER, TMPDIR=str(tmp_path)) as process:
        folder = Path(said(process))
        kill(process)
    assert (folder / "big").is_file()
    grow_old(folder.parent)
    use_a_folder_elsewhere(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_stays_however_old_it_is(tmp_path: Path) -> None:
    with other_process(USE_A_FOLDER, TMPDIR=str(tmp_path)) as process:
        folder = Path(said(process))
        grow_old(folder.parent, 1_000_000)
        use_a_folder_elsewhere(tmp_path)
        assert (folder / "big").is_file()


def test_a_folder_that_may_just_be_made_stays(tmp_path: Path) -> None:
    with other_process(USE_A_FOLDER, TMPDIR=str(tmp_path)) as process:
        folder = Path(said(process))
        kill(process)
    grow_old(folder.parent, -1_000_000)  # the clock was wound back since: no age at all
    use_a_folder_elsewhere(tmp_path)
    assert (folder / "big").is_file()


def test_what_only_has_such_a_name_stays(tmp_path: Path) -> None:
    kept = ["stac-manager-platform", "stac-manager-notebooks", "stac-manager-12345678"]
    for name in kept:
        (tmp_path / name).mkdir()
        (tmp_path / name / "work").write_text("of a week")
    (tmp_path / "stac-manager-linkname").symlink_to(tmp_path / kept[0])
    (tmp_path / "stac-manager-filename").write_text("x")
    for path in tmp_path.iterdir():
        grow_old(path, 1_000_000)
    before = sorted(tmp_path.rglob("*"))
    use_a_folder_elsewhere(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_of_a_process_killed_before_it_had_its_lock_is_removed_the_next_day(tmp_path: Path) -> None:
    for name, age in (("stac-manager-aaaaaaaa", 3_600), ("stac-manager-bbbbbbbb", 100_000)):
        (tmp_path / name).mkdir()
        grow_old(tmp_path / name, age)
    use_a_folder_elsewhere(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["stac-manager-aaaaaaaa"]


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(StorageError, match=r"gone.*: cannot be made: No such file") as caught, scratch_folder():
        pass
    assert "\n" not in str(caught.value)

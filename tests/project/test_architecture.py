from __future__ import annotations

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
DRAWING = runpy.run_path(str(ROOT / "docs" / "draw_rooms.py"))


def test_the_picture_of_the_rooms_is_current() -> None:
    picture: Path = DRAWING["PICTURE"]
    assert picture.read_text() == DRAWING["draw"](), "run `make docs`"


def test_rooms_import_downwards_only() -> None:
    graph, floors = DRAWING["rooms"](), DRAWING["heights"](DRAWING["rooms"]())
    wrong = [(room, target) for room, targets in graph.items() for target in targets if floors[room] <= floors[target]]
    assert wrong == []


def test_every_room_and_file_that_the_page_names_is_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`((?:pipeline|ingest|validate|output)/[a-z_/]+\.py)`", page))
    assert len(named) > 8
    assert [name for name in sorted(named) if not (ROOT / "stac_manager" / name).exists()] == []
    rooms = {room for room in DRAWING["rooms"]() if room != "helpers"}
    missing = [room for room in sorted(rooms) if f"`{room}`" not in page and f"`stac_manager/{room}`" not in page]
    assert missing == []

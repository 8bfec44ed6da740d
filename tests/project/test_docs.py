from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/*.md")])


def test_every_test_that_the_docs_name_exists() -> None:
    names = {name for page in PAGES for name in re.findall(r"`(test_\w+)`", page.read_text())}
    code = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert names
    assert [name for name in sorted(names) if f"def {name}(" not in code] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []

"""What a user's environment says must not change what the tests find."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
THEIRS = {
    "STAC_SCHEMA_DIR": "/nonexistent",
    "STAC_WORKFLOWS": "/nonexistent",
    "AWS_PROFILE": "nope",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "SOURCE_DATE_EPOCH": "0",
}


def test_the_tests_run_without_the_users_settings() -> None:
    code = "import json, os, tests.conftest; print(json.dumps(dict(os.environ)))"
    environment = {**os.environ, **THEIRS, "STAC_MANAGER_SHARED": "/somewhere"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    left = json.loads(done.stdout)
    assert THEIRS.keys() & left.keys() == set()
    assert left["STAC_MANAGER_SHARED"] == "/somewhere"


def test_the_users_schemas_are_not_used() -> None:
    assert Path(os.environ["XDG_CACHE_HOME"]) != Path.home() / ".cache"

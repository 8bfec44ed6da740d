"""Start Dagster's UI on 127.0.0.1, and for the demo's workflow also its STAC API, so that backfills work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack

import click

from demo.run import PORT as API_PORT
from demo.server import create_app, serve


@click.command()
@click.option("--port", default=3000, show_default=True, help="Port of the UI on 127.0.0.1.")
def main(port: int) -> None:
    """Run `dagster dev` until interrupted."""
    with ExitStack() as stack:
        if os.environ.get("STAC_WORKFLOWS", "").rstrip("/").endswith("demo/workflows"):
            url = stack.enter_context(serve(create_app(), API_PORT))
            click.echo(f"The demo's STAC API answers at {url}")
        click.echo(f"Open http://127.0.0.1:{port}; Ctrl-C ends it")
        command = [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(port), "-w", "workspace.yaml"]
        # in a new session, because otherwise Dagster's child processes outlive it
        child = subprocess.Popen(command, start_new_session=True)
        signal.signal(signal.SIGTERM, lambda *_: _stop(child))
        try:
            sys.exit(child.wait())
        except KeyboardInterrupt:
            _stop(child)


def _stop(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(timeout=15)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
    sys.exit(0)


if __name__ == "__main__":
    main()

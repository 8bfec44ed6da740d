"""Options, files, progress and summaries that all commands share."""

from __future__ import annotations

import functools
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import orjson
import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from stac_manager.config import Workflow, load_workflow
from stac_manager.errors import InputError, UsageError, one_line
from stac_manager.files import ITEM_ENDINGS, atomic_file, is_staging, read_values, write_items, write_lines
from stac_manager.geometry import flat_bbox
from stac_manager.items import Item, dumps, item_problem, loads, printable
from stac_manager.logs import LogFormat, configure_logging, start_logging
from stac_manager.progress import ProgressCallback, no_progress
from stac_manager.quarantine import RejectedItem, quarantine_record
from stac_manager.scratch import scratch_folder
from stac_manager.times import parse_interval, timestamp

__all__ = [
    "BBOX",
    "INTERVAL",
    "JSON",
    "Run",
    "check_target",
    "console",
    "not_yet",
    "progress",
    "shared_options",
    "values_in",
    "values_of",
]

console = Console(stderr=True, highlight=False, soft_wrap=True, width=None if sys.stderr.isatty() else 140)

_SHOWN = 10
"""Failures that are printed; `--failed` writes all of them."""


@dataclass
class Summary:
    """The counts of a run, for `--summary`."""

    fetched: int = 0
    published: int = 0
    failed: int = 0
    skipped: int = 0
    duplicates: int = 0
    added: int = 0
    modified: int = 0
    deleted: int = 0
    unchanged: int = 0
    duration_s: float = 0.0


@dataclass
class Run:
    """One run of a command: its summary, its failed items, its progress."""

    summary_file: str | None
    failed_file: str | None
    log_level: str | None = None
    """The value of `--log-level`; None if it is not given."""
    log_format: LogFormat = "text"
    dry_run: bool = False
    summary: Summary = field(default_factory=Summary)
    failures: list[dict[str, Any]] = field(default_factory=list)
    failed_checks: list[str] = field(default_factory=list)
    warned_checks: list[str] = field(default_factory=list)
    """Failed checks that are shown but do not make the command fail."""
    closing: str = ""
    """The last line of output, if the command has one."""
    ran: set[tuple[str, str]] = field(default_factory=set)
    """The collections and partitions that were run."""
    started: float = field(default_factory=time.monotonic)

    def load_workflow(self, path: str) -> Workflow:
        """Read a workflow file, and use its logging from now on.

        Raises:
            ConfigError: the workflow cannot be used.
            UsageError: its log file cannot be opened.
        """
        workflow = load_workflow(path)
        configure_logging(self.log_level or workflow.logging.level, workflow.logging.file, self.log_format)
        return workflow

    def reject(self, rejection: RejectedItem) -> None:
        """Count a failed item, and store it for `--failed`."""
        self.summary.failed += 1
        self.keep_failure(quarantine_record(rejection, timestamp()))

    def keep_failure(self, record: dict[str, Any]) -> None:
        """Store a quarantine record for `--failed`; the first ones are shown at once."""
        if len(self.failures) < _SHOWN:
            console.print(printable(f"failed {_name(record['item_id'])}: {record['error_message']}"), markup=False)
        if self.failed_file or len(self.failures) < _SHOWN:
            self.failures.append(record)

    def items(self, source: str, step: str) -> Iterator[Item]:
        """The items of an input file or of a folder of files; a value that is no item is rejected."""
        for value in values_in(source, step):
            problem = None if isinstance(value, RejectedItem) else item_problem(value)
            self.summary.fetched += 1
            if isinstance(value, RejectedItem):
                self.reject(value)
            elif problem:
                item_id = value.get("id") if isinstance(value, dict) else None
                name = item_id if isinstance(item_id, str) else None
                self.reject(RejectedItem(name, "NotAnItem", f"the item {problem}", step, value))
            else:
                yield value

    def accepted(self, values: Iterable[Item | RejectedItem]) -> Iterator[Item]:
        """The items that a step accepted; rejected items count as failed."""
        for value in values:
            if isinstance(value, RejectedItem):
                self.reject(value)
            else:
                yield value

    def write(self, target: str, items: Iterable[Item]) -> None:
        """Write items to a file, whose ending decides the format; with `--dry-run` only count them."""
        if self.dry_run:
            self.summary.published += sum(1 for _ in items)
        elif target.endswith(".parquet"):
            self.write_parquet(Path(target), items)
        else:
            self.summary.published += write_items(target, items)

    def write_lines(self, target: str, lines: Iterable[bytes]) -> None:
        """Write items that are JSON lines already; an NDJSON file gets them unchanged."""
        if self.dry_run or not target.endswith((".ndjson", ".ndjson.zst", ".jsonl")):
            self.write(target, map(loads, lines))
            return
        with atomic_file(Path(target)) as staging:
            self.summary.published += write_lines(staging, lines)

    def write_parquet(self, target: Path, items: Iterable[Item]) -> None:
        """Write a stac-geoparquet file; items that it cannot represent are rejected."""
        from stac_manager.output import write_geoparquet

        with scratch_folder() as folder:
            buffered, made = folder / "items.ndjson.zst", folder / "items.parquet"
            write_lines(buffered, map(dumps, items))
            result = write_geoparquet(lambda: _values(buffered), made)
            for rejection in result.rejected:
                self.reject(rejection)
            if not result.rows:
                console.print(f"{target} was not written: there are no items for it", markup=False)
                return
            with atomic_file(target) as staging:
                shutil.copyfile(made, staging)
        self.summary.published += result.rows

    def finish(self) -> int:
        """Write `--summary` and `--failed`; returns the exit status."""
        self.summary.duration_s = round(time.monotonic() - self.started, 3)
        if self.summary_file:
            data = orjson.dumps(asdict(self.summary), option=orjson.OPT_INDENT_2) + b"\n"
            with atomic_file(Path(self.summary_file)) as path:
                path.write_bytes(data)
        if self.failed_file:
            with atomic_file(Path(self.failed_file)) as path:
                write_lines(path, map(dumps, self.failures))
        self._tell_rest()
        return 1 if self.summary.failed or self.failed_checks else 0

    def _tell_rest(self) -> None:
        """Show how many failures were not shown, the failed checks, and the closing line."""
        if (more := self.summary.failed - _SHOWN) > 0:
            where = f"all are in {self.failed_file}" if self.failed_file else "--failed F.ndjson writes all of them"
            console.print(f"and {more} more failed; {where}", markup=False)
        for lines in (self.failed_checks, self.warned_checks):
            for line in lines[:_SHOWN]:
                console.print(f"check failed: {printable(line)}", markup=False)
            if (more := len(lines) - _SHOWN) > 0:
                console.print(f"and {more} more checks failed", markup=False)
        if self.closing:
            console.print(printable(self.closing), markup=False)


def _name(item_id: str | None) -> str:
    if item_id is None:
        return "(no id)"
    return item_id or '"" (empty id)'


def values_of(source: str, step: str) -> Iterator[Item | RejectedItem]:
    """The values of an input file, whose ending decides the format; Parquet is included.

    Raises:
        InputError: the file cannot be read.
    """
    if not source.endswith(".parquet"):
        yield from read_values(source, step)
        return
    from stac_manager.output import read_geoparquet

    try:
        yield from read_geoparquet(source)
    except FileNotFoundError:
        raise InputError(f"{source}: there is no such file") from None
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise InputError(f"{source}: is not stac-geoparquet: {one_line(error)}") from None


def values_in(source: str, step: str) -> Iterator[Any]:
    """The values of a file, or of all item files in a folder and its subfolders, in the order of their names.

    A file of a folder that cannot be read becomes a `RejectedItem`; the other files are read.

    Raises:
        InputError: the file cannot be read, or the folder has no item file.
    """
    folder, endings = Path(source), (*ITEM_ENDINGS, ".parquet")
    if source == "-" or not folder.is_dir():
        yield from values_of(source, step)
        return
    found = (path for path in folder.rglob("*") if path.name.endswith(endings) and path.is_file())
    files = sorted(path for path in found if not is_staging(path))
    if not files:
        raise InputError(f"{source}: is a folder that holds no file that ends with {', '.join(endings)}")
    for path in files:
        try:
            yield from values_of(str(path), step)
        except InputError as error:
            text = path.read_bytes()[:10_000].decode("utf-8", "replace")
            yield RejectedItem(None, "InvalidJson", str(error), step, text)


def _values(path: Path) -> Iterator[Item]:
    return (value for value in read_values(str(path), "output") if isinstance(value, dict))


def shared_options(*, dry_run: bool = False) -> Callable[[Callable[..., None]], Callable[..., int]]:
    """Adds the options that every command has; the command gets a `Run` as its first argument."""

    def decorate(command: Callable[..., None]) -> Callable[..., int]:
        @functools.wraps(command)
        def wrapper(
            summary: str | None, failed: str | None, log_level: str | None, log_format: LogFormat, **options: Any
        ) -> int:
            start_logging(log_level or "WARNING", log_format)
            for option, target in (("--summary", summary), ("--failed", failed)):
                if target and (not Path(target).name or Path(target).is_dir()):
                    raise UsageError(f"{option} {target}: is a folder; name a file")
            run = Run(summary, failed, log_level, log_format, dry_run=bool(options.pop("dry_run", False)))
            command(run, **options)
            return run.finish()

        wrapped: Callable[..., int] = wrapper
        for option in reversed(_options(dry_run)):
            wrapped = option(wrapped)
        return wrapped

    return decorate


def _options(dry_run: bool) -> list[Callable[[Callable[..., int]], Callable[..., int]]]:
    levels = click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"], case_sensitive=False)
    options: list[Callable[[Callable[..., int]], Callable[..., int]]] = [
        click.option("--summary", metavar="F.json", help="Write the counts of the run to this file."),
        click.option("--failed", metavar="F.ndjson", help="Write the items that failed, each with its reason."),
        click.option("--log-level", type=levels, show_default="WARNING, or as the workflow says", help="What to log."),
        click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True),
    ]
    if dry_run:
        options.append(click.option("--dry-run", is_flag=True, help="Do everything but write."))
    return options


@contextmanager
def progress(title: str, total: int | None = None) -> Iterator[ProgressCallback]:
    """A progress bar with rate and time left on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        yield no_progress
        return
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=total, rate="")
        start = time.monotonic()

        def advance(count: int, total: int | None = None, /) -> None:
            done = bar.tasks[0].completed + count
            if total is not None:
                bar.update(task, total=total)
            bar.update(task, advance=count, rate=f"{done / max(time.monotonic() - start, 0.001):,.0f}/s")

        yield advance


class _BboxType(click.ParamType[tuple[float, ...]]):
    name = "W,S,E,N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        try:
            box = tuple(float(number) for number in str(value).split(","))
        except ValueError:
            box = ()
        if len(box) not in (4, 6):
            self.fail(f"{value!r} is not four numbers W,S,E,N in degrees, such as 5.9,45.8,10.5,47.9", param, ctx)
        west, south, east, north = flat_bbox(box)
        if not (-90 <= south <= north <= 90 and -180 <= west <= 180 and -180 <= east <= 180):
            self.fail(f"{value!r} is not a box: south may not lie above north, nor outside of ±90, ±180", param, ctx)
        return box


class _IntervalType(click.ParamType[str]):
    name = "A/B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            parse_interval(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class _JsonType(click.ParamType[dict[str, Any]]):
    name = "JSON"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        try:
            document = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            self.fail(f"is not JSON: {error}", param, ctx)
        if not isinstance(document, dict):
            self.fail("is not a JSON object", param, ctx)
        return document


BBOX = _BboxType()
INTERVAL = _IntervalType()
JSON = _JsonType()


def check_target(target: str) -> None:
    """Check that a target can be written, before anything is done.

    Raises:
        UsageError: its ending is unknown.
    """
    if target != "-" and not target.endswith((*ITEM_ENDINGS, ".parquet")):
        raise UsageError(f"{target}: the ending is not one of {', '.join((*ITEM_ENDINGS, '.parquet'))}")


def not_yet(option: str) -> UsageError:
    """The error for an option whose feature is not built yet."""
    return UsageError(f"{option} is not supported yet in this version")

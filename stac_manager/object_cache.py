"""What this process knows of the objects of a store, so that it need not ask for it again.

A call to an object store takes milliseconds, however small the object is. So the keys of a folder are known from one
LIST, content that was read or written stays known by its ETag, and files that were written are read from local copies.
A listing is right as long as nothing else writes there: under the lock of a partition, or for one look at a collection.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from stac_manager.scratch import scratch_folder

__all__ = ["ABSENT", "Entry", "Listing", "ObjectCache"]

_SMALL = 1 << 20
"""Bytes; larger objects are not kept in memory."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An object as a listing shows it."""

    size: int
    """Bytes."""
    e_tag: str | None


ABSENT = Entry(-1, None)
"""There is no object."""


@dataclass
class Listing:
    """The objects below some folders, from a LIST, and after it as this process has changed them."""

    folders: tuple[str, ...]
    after: str
    """Only keys that sort after this one are listed."""
    until: str
    """Only keys up to this one are listed; all, if it is empty."""
    entries: dict[str, Entry]
    scratch: Path
    """A folder for local copies."""
    files: dict[str, Path] = field(default_factory=dict)
    """Local copies of objects."""

    def covers(self, key: str) -> bool:
        """Whether the listing knows if there is such a key."""
        return self.after < key and (not self.until or key <= self.until) and key.startswith(self.folders)

    def covers_folder(self, folder: str, after: str = "") -> bool:
        """Whether the listing knows every key below a folder, whose name ends in `/`, that sorts after another key."""
        return max(folder, after) >= self.after and not self.until and folder.startswith(self.folders)


class ObjectCache:
    """The listings and the content that are known; the latest listing that covers a key is asked."""

    def __init__(self) -> None:
        self._listings: list[Listing] = []
        self._content: dict[str, tuple[str, bytes | None]] = {}
        self._hints: dict[str, dict[str, Entry]] = {}
        self.new_folders: set[str] = set()
        """Folders that had nothing but locks when they were first listed."""
        self.stored_manifests: dict[str, dict[str, str]] = {}
        """The ETags of the manifests in the objects of `pipeline.state.manifest_cache`, by their keys."""

    @contextmanager
    def listing(
        self, folders: Sequence[str], entries: dict[str, Entry], *, after: str = "", until: str = ""
    ) -> Iterator[None]:
        """Use a listing until the end of the block. `folders` end in `/`."""
        with ExitStack() as opened:
            scratch = opened.enter_context(scratch_folder())
            listing = Listing(tuple(folders), after, until, entries, scratch)
            self._listings.append(listing)
            opened.callback(self._listings.remove, listing)
            yield

    def covers_all(self, folders: Iterable[str], after: str) -> bool:
        """Whether every key of these folders that sorts after another key is known."""
        return all(any(one.covers_folder(folder, after) for one in self._listings) for folder in folders)

    def entry(self, key: str) -> Entry | None:
        """The object, or `ABSENT`; None if it is not known."""
        listing = self._listing_of(key)
        return listing.entries.get(key, ABSENT) if listing else None

    def keys_below(self, folder: str, after: str) -> list[str] | None:
        """Every key below a folder that sorts after another key, sorted; None if they are not known."""
        for listing in reversed(self._listings):
            if listing.covers_folder(folder, after):
                return sorted(key for key in listing.entries if key.startswith(folder) and key > after)
        return None

    def content(self, key: str, e_tag: str | None) -> bytes | None:
        """The content with this ETag, if it is known."""
        known = self._content.get(key)
        return known[1] if known and known[0] == e_tag else None

    def last_seen(self, key: str) -> tuple[str, bytes | None] | None:
        """ETag and content when this process last read or wrote a key, which another one may have changed since.

        The content is None if there was no object; the result is None if nothing is known.
        """
        if self.hint(key) is ABSENT:
            return "", None
        return self._content.get(key)

    def hint(self, key: str) -> Entry | None:
        """The object when its folder was last listed as a small one, or `ABSENT`; None if that is not known."""
        folder = next((folder for folder in self._hints if key.startswith(folder)), None)
        return self._hints[folder].get(key, ABSENT) if folder else None

    def saw_small(self, folder: str, entries: dict[str, Entry]) -> None:
        """Note everything below a small folder, whose name ends in `/`."""
        if folder not in self._hints and not any("/locks/" not in key for key in entries):
            self.new_folders.add(folder)
        self._hints[folder] = dict(entries)

    def forget_small(self, folder: str) -> None:
        """Forget the look at a folder, because it is not small any more."""
        self._hints.pop(folder, None)

    def seen_below(self, folder: str) -> dict[str, Entry] | None:
        """Everything below a small folder when it was last listed, with what this process has changed since."""
        return dict(self._hints[folder]) if folder in self._hints else None

    def remember(self, key: str, e_tag: str | None, content: bytes) -> None:
        """Keep content, if it is small."""
        self._note_hint(key, Entry(len(content), e_tag))
        if e_tag is not None and len(content) <= _SMALL:
            self._content[key] = (e_tag, content)
        else:
            self._content.pop(key, None)

    def learn(self, key: str, e_tag: str, content: bytes) -> None:
        """Note what some object had once; what this process has read or written itself is not replaced."""
        self._content.setdefault(key, (e_tag, content))

    def forget_other(self, key: str, e_tag: str | None) -> None:
        """Forget the content of a key, if it has another ETag now."""
        if self._content.get(key, (e_tag,))[0] != e_tag:
            del self._content[key]

    def remember_absence(self, key: str) -> None:
        """Note that there is no object."""
        self._note_hint(key, None)
        self._content[key] = ("", None)

    def _note_hint(self, key: str, entry: Entry | None) -> None:
        for folder, entries in self._hints.items():
            if key.startswith(folder):
                entries.pop(key, None)
                if entry:
                    entries[key] = entry

    def known_content(self, folder: str) -> Iterator[tuple[str, str, bytes]]:
        """Key, ETag and content of everything known below a folder."""
        for key, (e_tag, content) in list(self._content.items()):
            if content is not None and key.startswith(folder):
                yield key, e_tag, content

    def wrote(self, key: str, e_tag: str | None, size: int, content: bytes | Path) -> None:
        """Note that this process wrote an object; a local file is kept for as long as the listing is used."""
        for listing in self._listings:
            listing.files.pop(key, None)
            if listing.covers(key):
                listing.entries[key] = Entry(size, e_tag)
        if isinstance(content, bytes):
            self.remember(key, e_tag, content)
        else:
            self._content.pop(key, None)
            self._note_hint(key, Entry(size, e_tag))
            self._keep_copy(key, content)

    def deleted(self, key: str) -> None:
        """Note that this process deleted an object."""
        self.remember_absence(key)
        for listing in self._listings:
            listing.entries.pop(key, None)
            listing.files.pop(key, None)

    def file(self, key: str) -> Path | None:
        """A local copy of an object, if there is one."""
        found = (listing.files.get(key) for listing in reversed(self._listings))
        return next(filter(None, found), None)

    def place_for(self, key: str) -> Path | None:
        """Where to put a local copy that can be used again; None outside of listings."""
        listing = self._listing_of(key) or (self._listings[-1] if self._listings else None)
        if listing is None:
            return None
        return listing.scratch / f"{uuid.uuid4().hex}{''.join(Path(key).suffixes[-2:])}"

    def keep_file(self, key: str, path: Path) -> None:
        """Use a local copy that was made at `place_for`."""
        listing = self._listing_of(key) or self._listings[-1]
        listing.files[key] = path

    def _keep_copy(self, key: str, path: Path) -> None:
        """Keep a copy of a file that was written, while a listing is used: then nothing else writes what this does."""
        if self._listings:
            listing = self._listings[-1]
            place = listing.scratch / f"{uuid.uuid4().hex}{''.join(Path(key).suffixes[-2:])}"
            try:
                place.hardlink_to(path)
            except OSError:  # another file system, or no room
                return
            listing.files[key] = place

    def _listing_of(self, key: str) -> Listing | None:
        return next((one for one in reversed(self._listings) if one.covers(key)), None)

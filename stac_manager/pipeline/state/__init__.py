"""The files of a chain on storage: paths, manifests, stage files, marks, contracts and the state of syncs."""

from __future__ import annotations

__all__: list[str] = []

"""What a chain keeps on storage: paths, manifests, stage files, marks and the state of syncs."""

from __future__ import annotations

__all__: list[str] = []

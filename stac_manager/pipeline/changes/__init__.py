"""What a source changed beside the content of items: it deleted them, or moved them to another partition."""

from __future__ import annotations

__all__: list[str] = []

from __future__ import annotations

import stac_manager


def test_every_public_name_can_be_imported() -> None:
    for name in stac_manager.__all__:
        assert getattr(stac_manager, name).__name__ == name


def test_every_error_has_one_base() -> None:
    from stac_manager import errors

    kinds = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]
    assert all(issubclass(kind, stac_manager.StacManagerError) for kind in kinds)

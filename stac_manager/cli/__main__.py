"""`python -m stac_manager.cli` runs `stac-manager`."""

from stac_manager.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()

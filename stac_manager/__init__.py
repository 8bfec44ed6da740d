"""stac-manager: sync, validate and publish STAC catalogs."""

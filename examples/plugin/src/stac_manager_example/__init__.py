"""An example of everything that a package can add to stac-manager."""

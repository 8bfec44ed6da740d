"""The demo: a small STAC API with items that are made up on real tiles and orbits, and a run of the whole chain."""

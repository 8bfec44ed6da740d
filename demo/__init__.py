"""The demo: a small STAC API with invented items on real tiles and orbits, and a run of the whole chain."""

"""Draw once, apply: `draw` decides what happens to a sample, an engine does it."""

"""Aligned tilt series: their geometry, and the formats of the programs that align them."""

"""Simulated sets with truth, bounds from the truth, and what every model makes of them."""

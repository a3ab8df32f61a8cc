"""Data sets with known truth: phantoms and particle stacks."""

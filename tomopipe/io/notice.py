"""Warnings to people: what was done all the same, and what they may want to look at."""

from __future__ import annotations

import sys


def notice(text: str) -> None:
    """Say a sentence on stderr, where logs keep it."""
    sys.stderr.write(f"tomopipe: warning: {text}\n")

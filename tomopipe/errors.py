"""Errors a user can act on: one sentence that names file, field, value and the fix."""

from __future__ import annotations


class TomopipeError(Exception):
    """Base of all errors that the command line prints as one sentence with exit code 2."""


class InputError(TomopipeError):
    """A file given by the user cannot be read as it stands."""


class ConfigError(TomopipeError):
    """A setting is wrong, missing, or contradicts another."""


class StateError(TomopipeError):
    """A result of an earlier stage is missing, stale or belongs to something else."""


class TrainingError(TomopipeError):
    """Training cannot go on, for example because the loss is no longer finite."""


class DownloadError(TomopipeError):
    """A server does not give what was asked for, or gives something else."""

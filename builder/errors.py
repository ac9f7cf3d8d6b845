"""Errors a caller may catch. Each message says what happened, where, and what to do next.

::

    BuilderError                 anything a user can act on; the command line prints it as one sentence
    ├── SourceError              the input cannot be read: missing, empty, wrong hash, unsafe archive
    ├── MalformedArticle         one article cannot be used; ingest sets it aside and goes on
    ├── OutputError              the output cannot be written: read-only, full disk
    ├── FolderInUse              another run holds the folder
    ├── SettingsMismatch         the folder was made with other settings
    ├── IncompleteRun            some shards are missing after the run; a rerun completes it
    ├── StudentError             a student folder cannot be loaded or does not fit
    ├── LabelError               a label file is malformed or matches nothing
    ├── ServerError              a language model's server cannot be used
    ├── RecipeError              a recipe says something that cannot be
    └── EmptyResult              a stage would produce nothing at all
"""

from __future__ import annotations

__all__ = [
    "BuilderError",
    "EmptyResult",
    "FolderInUse",
    "IncompleteRun",
    "LabelError",
    "MalformedArticle",
    "OutputError",
    "RecipeError",
    "ServerError",
    "SettingsMismatch",
    "SourceError",
    "StudentError",
]


class BuilderError(Exception):
    """Anything that a user can act on."""


class SourceError(BuilderError):
    """The input cannot be read."""


class MalformedArticle(BuilderError):
    """One article cannot be used.

    ``reason`` is a short stable code (a :class:`builder.jats.reasons.RejectReason` value), ``detail`` the specifics.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class OutputError(BuilderError):
    """The output cannot be written."""


class FolderInUse(BuilderError):
    """Another run holds the folder."""


class SettingsMismatch(BuilderError):
    """The folder was made with other settings."""


class IncompleteRun(BuilderError):
    """Some shards are missing after the run."""


class StudentError(BuilderError):
    """A student folder cannot be loaded or does not fit."""


class LabelError(BuilderError):
    """A label file is malformed or matches nothing."""


class ServerError(BuilderError):
    """A language model's server cannot be used."""


class RecipeError(BuilderError):
    """A recipe says something that cannot be."""


class EmptyResult(BuilderError):
    """A stage would produce nothing at all."""

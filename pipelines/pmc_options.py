"""The options by which a bucket in PubMed Central's layout is read, and what they are gathered into."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]

#: The values of :mod:`builder.sources.pmc.selection`, repeated so that ``--help`` imports nothing; a test compares them.
LICENSES = ("all", "commercial")
INCLUDES = ("manuscripts", "ocr")


_SELECTION = (
    click.option(
        "--license",
        "licenses",
        type=click.Choice(LICENSES),
        default="all",
        show_default=True,
        help="PMC: articles under any Creative Commons licence, or only those that allow commercial use.",
    ),
    click.option(
        "--include",
        type=click.Choice(INCLUDES),
        multiple=True,
        help="PMC: also author manuscripts, or historical OCR. May be given twice.",
    ),
    click.option(
        "--since",
        type=click.DateTime(["%Y-%m-%d"]),
        default=None,
        help="PMC: only articles that are new or changed since this day, YYYY-MM-DD.",
    ),
    click.option(
        "--ids",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        default=None,
        help="PMC: only the articles that this file names, PMC123 or PMC123.2 a line.",
    ),
    click.option("--dry-run", is_flag=True, help="PMC: only say how much would be fetched, and how long it takes."),
)
_BUCKET = (
    click.option(
        "--mirror",
        type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
        default=None,
        help="PMC: folder for what is fetched. [default: in the cache, one for each bucket]",
    ),
    click.option("--endpoint", default="", help="PMC: address of another S3 server, such as http://127.0.0.1:9000."),
    click.option(
        "--concurrency", type=click.IntRange(1, 1024), default=64, show_default=True, help="PMC: requests at once."
    ),
)


def pmc_options(command: Command) -> Command:
    """Adds all options to a command and passes them to it as ``pmc``, with ``dry_run``."""
    return _with(command, (*_SELECTION, *_BUCKET), ("licenses", "include", "since", "ids", *_PLACE))


def bucket_options(command: Command) -> Command:
    """Adds the options that say where the bucket and its mirror are."""
    return _with(command, _BUCKET, _PLACE)


_PLACE = ("mirror", "endpoint", "concurrency")


def _with(command: Command, options: Sequence[Command], names: Sequence[str]) -> Command:
    @functools.wraps(command)
    def gathered(**given: Any) -> Any:
        return command(pmc=_gather(**{name: given.pop(name) for name in names}), **given)

    for option in reversed(options):
        gathered = option(gathered)
    return gathered


def _gather(
    mirror: Path | None,
    endpoint: str,
    concurrency: int,
    licenses: str = "all",
    include: tuple[str, ...] = (),
    since: datetime | None = None,
    ids: Path | None = None,
) -> Any:
    from builder.sources import PmcOptions
    from builder.sources.pmc import Selection, read_ids

    selection = Selection(
        license=licenses,
        include=frozenset(include),
        since=since.date().isoformat() if since else "",
        ids=read_ids(ids) if ids else None,
    )
    return PmcOptions(endpoint, mirror, selection, concurrency)

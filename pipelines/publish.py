"""A folder that is complete to a repository of the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from builder.errors import SourceError
from builder.hub import HubName, hub_name
from builder.publishing.publishing import PublishSettings
from builder.publishing.publishing import publish as run
from builder.stage import Progress


def publish(
    folder: Path,
    repository: str,
    progress: Progress,
    *,
    branch: str = "",
    private: bool = False,
    create_pr: bool = False,
    tag: str | None = None,
    message: str = "",
    dry_run: bool = False,
) -> dict[str, Any]:
    """Publish a dataset, annotations, a student or a Space; see :func:`builder.publishing.publishing.publish`.

    ``repository`` is ``org/name``; an empty ``branch`` is main. Dated tags are of the day in UTC.
    """
    name = hub_name(f"{repository}@{branch}" if branch else repository)
    if "@" in repository:
        raise SourceError(f"give the repository as org/name and the branch apart from it, not {repository!r}")
    settings = PublishSettings(
        name=HubName(name.repository, "" if name.revision == "main" else name.revision),
        private=private,
        create_pr=create_pr,
        tag=tag,
        message=message,
        dry_run=dry_run,
    )
    return run(folder, settings, progress)

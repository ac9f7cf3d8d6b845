"""The dated tag, made last: ``v2026.11.21``, then ``v2026.11.21.2`` and so on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Final

from huggingface_hub import HfApi

from builder.errors import SourceError
from builder.hub import answer_of, is_passing, pause, repeated
from builder.publishing.remote import Remote

_DATED: Final = re.compile(r"v(\d{4})\.(\d\d)\.(\d\d)(?:\.(\d{1,6}))?")
_TAG: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TRIES: Final = 20


def check_tag(tag: str, tags: Mapping[str, str]) -> None:
    """Raise :class:`SourceError` if ``tag`` is no name for a tag, or there is one of this name already."""
    if not _TAG.fullmatch(tag) or ".." in tag or tag.endswith((".", ".lock")):
        raise SourceError(f"{tag!r} is no name for a tag: give letters, digits, points, hyphens and underscores")
    if tag in tags:
        raise SourceError(
            f"there is a tag {tag} already, of commit {tags[tag][:12]}, and tags stay what they are: give another"
        )


def dated_tag(day: date, tags: Mapping[str, str]) -> str:
    """The first free name of that day."""
    first = f"v{day:%Y.%m.%d}"
    names = [first, *(f"{first}.{number}" for number in range(2, len(tags) + 3))]
    return next(name for name in names if name not in tags)


def dated_tags(tags: Mapping[str, str]) -> list[str]:
    """The dated ones, newest first."""
    found = [(match.groups("1"), name) for name in tags if (match := _DATED.fullmatch(name))]
    return [name for _, name in sorted(found, key=lambda one: tuple(map(int, one[0])), reverse=True)]


def make_tag(api: HfApi, remote: Remote, commit: str, day: date, wanted: str | None) -> str:
    """Name a commit, by ``wanted`` or by the day; the name. A tag that names it already will do.

    Raises:
        SourceError: the wanted name was taken meanwhile.
    """
    last: Exception | None = None
    for number in range(_TRIES):
        tags = _tags(api, remote)
        if wanted is None and (named := [name for name in dated_tags(tags) if tags[name] == commit]):
            return named[0]
        if wanted is not None and tags.get(wanted) == commit:
            return wanted
        if wanted is not None:
            check_tag(wanted, tags)
        name = wanted or dated_tag(day, tags)
        try:
            api.create_tag(remote.name.repository, tag=name, revision=commit, repo_type=remote.repo_type)
        except Exception as error:
            answer = answer_of(error)
            taken = answer is not None and answer.status_code == 409
            if not taken and (not is_passing(error) or number >= 3):
                raise
            last = error
            pause(error, 1.0)
        else:
            return name
    raise SourceError(f"no tag could be made for commit {commit[:12]} of {remote.name.repository}: run again") from last


def _tags(api: HfApi, remote: Remote) -> dict[str, str]:
    refs = repeated(lambda: api.list_repo_refs(remote.name.repository, repo_type=remote.repo_type), dropped=True)
    return {ref.name: ref.target_commit for ref in refs.tags}

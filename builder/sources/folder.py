"""Articles as files in a folder, in any layout; PMC's own (``PMC1.1/PMC1.1.xml``, ``metadata/PMC1.1.json``) is known."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from builder.errors import SourceError
from builder.fetch import sha256_of
from builder.sources.base import (
    MAX_ARTICLE_BYTES,
    MAX_FACTS_BYTES,
    Entry,
    Source,
    SourceArticle,
    facts_names,
    is_article_name,
    is_unicode,
    with_facts,
)


class FolderSource(Source):
    """All ``.xml`` and ``.nxml`` files below a folder. Links to folders are not followed."""

    def entries(self) -> list[Entry]:
        """See :class:`Source`; the digest covers the article's bytes and those of its metadata JSON."""
        root = Path(self.location)
        found = []
        for folder, _, files in os.walk(root, onerror=_unreadable):
            for file in files:
                path = Path(folder, file)
                if is_article_name(file) and path.is_file():
                    try:
                        found.append(self._entry(root, path))
                    except OSError as error:
                        _unreadable(error)
        if not found:
            raise SourceError(f"no article files (.xml, .nxml) in {root} or below it; check --source")
        return found

    def _entry(self, root: Path, path: Path) -> Entry:
        if not is_unicode(str(path)):
            raise SourceError(f"the file name {str(path)!r} is not UTF-8; rename it and run again")
        content = sha256_of(path)
        facts = self._facts_path(root, path)
        if facts is not None:
            content += sha256_of(facts)
        return Entry(path.relative_to(root).as_posix(), path.stat().st_size, content)

    @staticmethod
    def _facts_path(root: Path, article: Path) -> Path | None:
        for name in facts_names(article.relative_to(root).as_posix()):
            if (root / name).is_file():
                return root / name
        return None

    def read(self, names: Sequence[str]) -> Iterator[SourceArticle]:
        """See :class:`Source`."""
        root = Path(self.location)
        for name in names:
            path = root / name
            facts = self._facts_path(root, path)
            try:
                yield with_facts(name, _read(path, MAX_ARTICLE_BYTES), _read(facts, MAX_FACTS_BYTES) if facts else None)
            except OSError as error:
                _unreadable(error)


def _read(path: Path, limit: int) -> bytes:
    """Content of a file, cut to one byte above ``limit``."""
    with path.open("rb") as stream:
        return stream.read(limit + 1)


def _unreadable(error: OSError) -> NoReturn:
    raise SourceError(f"cannot read {error.filename}: {error.strerror}; run again when it can be read") from error

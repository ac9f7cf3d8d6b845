"""Articles as files in a folder, in any layout; PMC's own (``PMC1.1/PMC1.1.xml``, ``metadata/PMC1.1.json``) is known."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

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
    parse_facts,
)


class FolderSource(Source):
    """All ``.xml`` and ``.nxml`` files below a folder. Links to folders are not followed."""

    def entries(self) -> list[Entry]:
        """See :class:`Source`; the digest covers the article's bytes and those of its metadata JSON."""
        root = Path(self.location)
        found = []
        for folder, _, files in os.walk(root):
            for file in files:
                path = Path(folder, file)
                if is_article_name(file) and path.is_file():
                    found.append(self._entry(root, path))
        if not found:
            raise SourceError(f"no article files (.xml, .nxml) in {root} or below it; check --source")
        return found

    def _entry(self, root: Path, path: Path) -> Entry:
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
            try:
                with path.open("rb") as stream:
                    data = stream.read(MAX_ARTICLE_BYTES + 1)
            except OSError as error:
                raise SourceError(f"cannot read {path}: {error.strerror}; run again when it is there") from error
            yield SourceArticle(name, data, self._facts(root, path))

    def _facts(self, root: Path, article: Path) -> Mapping[str, object] | None:
        path = self._facts_path(root, article)
        if path is None or path.stat().st_size > MAX_FACTS_BYTES:
            return None
        return parse_facts(path.read_bytes(), str(path))

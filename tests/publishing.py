"""Small dataset folders as assemble leaves them, written row by row, and ``publish`` run on them. All text is made up."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from click.testing import CliRunner, Result

from builder.parquet import parquet_writer
from builder.schema import DATASET_SCHEMA, DOCUMENT_TYPES, DOMAINS
from pipelines.cli import main
from tests.hub_server import HubServer

#: Stands in every paragraph of noncommercial articles and nowhere else.
SECRET = "zzyxnoncommercial"
WORDS = ("cells", "were", "grown", "patients", "fever", "cough", "biopsy", "showed", "kinase", "serum", "rate", "of", "the")
#: Where tables are, and of how many articles: two files, commercial and not.
BASE = {"commercial-plain": range(100, 120), "noncommercial-plain": range(200, 210)}
NOW = datetime.now(UTC)
REPO = "org/data"
DATA = f"datasets/{REPO}"

Rows = list[dict[str, Any]]


def paragraph(article: int, index: int, version: int = 1) -> str:
    """The text of a paragraph."""
    choose = random.Random(f"{article} {index} {version}")
    secret = f" {SECRET}" if 200 <= article < 300 else ""
    return f"Paragraph {index} of {article}: {' '.join(choose.choices(WORDS, k=80))}{secret}."


def rows_of(article: int, paragraphs: int = 4, version: int = 1) -> Rows:
    """The rows of an article; those from 200 to 299 are noncommercial."""
    commercial = not 200 <= article < 300
    choose = random.Random(article)
    found = []
    for index in range(paragraphs):
        text = paragraph(article, index, version)
        row = dict.fromkeys(DATASET_SCHEMA.names) | {
            "id": f"PMC{article}.{version}_p{index}",
            "article_id": f"PMC{article}",
            "path": f"/article/body/sec/p[{index + 1}]",
            "text": text if commercial else None,
            "language": "en",
            "section_title": "Methods",
            "domain": choose.choice(DOMAINS),
            "document_type": choose.choice(DOCUMENT_TYPES),
            "educational_score": choose.uniform(1, 5),
            "domain_scores": [choose.random() for _ in DOMAINS],
            "document_type_scores": [choose.random() for _ in DOCUMENT_TYPES],
            "authors": ["A. Nobody", "B. Noone"],
            "license_url": "https://creativecommons.org/licenses/by/4.0/",
            "pmcid": f"PMC{article}",
            "article_version": version,
            "article_title": f"Made-up article {article}, with a title that is longer than sixty-four characters",
            "section_path": ["Methods"],
            "paragraph_index": index,
            "license_code": "CC BY" if commercial else "CC BY-NC",
            "license_commercial": commercial,
            "text_sha256": hashlib.sha256(text.encode()).hexdigest(),
            "token_count": 90,
        }
        found.append(row)
    return found


def all_rows(articles: Sequence[int], **more: Any) -> Rows:
    return [row for article in articles for row in rows_of(article, **more)]


def write_table(path: Path, rows: Rows, schema: pa.Schema = DATASET_SCHEMA, group: int = 40) -> Path:
    """A table as this program writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with parquet_writer(path, schema) as writer:
        for start in range(0, len(rows), group):
            writer.write_table(pa.Table.from_pylist(rows[start : start + group], schema))
    return path


def write_dataset(folder: Path, files: Mapping[str, Sequence[int] | Rows] = BASE) -> Path:
    """A dataset folder with a file for each name, of these articles or rows."""
    for name, content in files.items():
        rows = content if content and isinstance(content[0], dict) else all_rows(content)  # type: ignore[arg-type]
        write_table(folder / "data" / f"{name}-00000-of-00001.parquet", rows)  # type: ignore[arg-type]
    (folder / "_build").mkdir(exist_ok=True)
    (folder / "_build" / "secret.txt").write_text(paragraph(200, 0))
    return finish(folder)


def finish(folder: Path, **listed: bytes) -> Path:
    """The manifest and the card for what lies in the folder's data and for other files, which are written."""
    paths = sorted((folder / "data").iterdir())
    for name, data in listed.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        paths.append(place)
    files = [
        {
            "path": path.relative_to(folder).as_posix(),
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in paths
    ]
    (folder / "manifest.json").write_text(json.dumps({"files": files, "build": "b"}, indent=1))
    tables = [file["path"] for file in files if str(file["path"]).endswith(".parquet")]
    splits = {
        split: [path for path in tables if str(path).startswith(f"data/{split}")]
        for split in ("commercial", "noncommercial")
    }
    data_files = [{"split": split, "path": listed} for split, listed in splits.items() if listed]
    front = {"license": "other", "configs": [{"config_name": "base", "data_files": data_files}]}
    build = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(front)}---\n\n# Made up\n\nBuild {build}.\n")
    return folder


class _Clock(datetime):
    """Stays where it was when the tests were collected, since midnight may come while they run."""

    @classmethod
    def now(cls, *_: object) -> datetime:  # type: ignore[override]
        return NOW


def publish(folder: Path, *arguments: object, repo: str = REPO) -> Result:
    """The command, in this process, on the day of :data:`NOW`."""
    with patch("builder.publishing.publishing.datetime", _Clock):
        return CliRunner().invoke(main, ["publish", str(folder), "--repo", repo, *map(str, arguments)])


def published(folder: Path, *arguments: object, repo: str = REPO) -> dict[str, Any]:
    """The report of a publication that goes well."""
    done = publish(folder, "--json", *arguments, repo=repo)
    assert done.exit_code == 0, done.output + repr(done.exception)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def refused(folder: Path, *arguments: object, repo: str = REPO) -> str:
    """The sentence of one that does not."""
    done = publish(folder, *arguments, repo=repo)
    assert done.exit_code == 1, done.output + repr(done.exception)
    assert done.stderr.count("Error: ") == 1
    return done.stderr[done.stderr.index("Error: ") :].strip()


def sent_bytes(server: HubServer) -> int:
    """Of files, large and small, that the Hub took."""
    return sum(one.received for one in server.asked("/storage/|/commit/") if one.status == 200)


def rows_there(server: HubServer, name: str = DATA, revision: str = "main") -> Iterator[dict[str, Any]]:
    """Every row of every table on the Hub."""
    for path, data in server.files(name, revision).items():
        if path.endswith(".parquet"):
            yield from pq.read_table(pa.BufferReader(data)).to_pylist()


def local_bytes(folder: Path) -> dict[str, bytes]:
    """Path -> bytes of what is to be published of a dataset folder."""
    listed = [file["path"] for file in json.loads((folder / "manifest.json").read_text())["files"]]
    return {path: (folder / path).read_bytes() for path in sorted([*listed, "README.md", "manifest.json"])}

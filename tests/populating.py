"""What the tests of populate share: running it, and made-up articles and releases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner, Result
from lxml import etree

from pipelines.cli import main
from pipelines.display import LineProgress
from pipelines.populate import populate
from tests.corpus import article

REPORT = "populate-report.json"


def fill(dataset: Path, source: Path, output: Path | None, **given: Any) -> dict[str, Any]:
    return populate(dataset, str(source), output, LineProgress(), **given)


def run_populate(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["populate", *map(str, arguments), "--workers", "1"])


def rows_of(dataset: Path) -> list[dict[str, Any]]:
    files = [
        path for path in sorted(dataset.rglob("*.parquet")) if ".populate" not in path.parts and "_build" not in path.parts
    ]
    return [row for path in files for row in pq.read_table(path).to_pylist()]


def misses_of(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for path in sorted(Path(report["misses"]).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def files_of(dataset: Path) -> dict[str, bytes]:
    files = (
        path for path in sorted(dataset.rglob("*")) if path.is_file() and not {".populate", "_build"} & set(path.parts)
    )
    return {path.relative_to(dataset).as_posix(): path.read_bytes() for path in files}


def noncommercial(dataset: Path) -> Path:
    return next((dataset / "data").glob("noncommercial-*.parquet"))


def rewrite(path: Path, change: Any) -> None:
    rows = pq.read_table(path)
    pq.write_table(pa.Table.from_pylist(change(rows.to_pylist()), rows.schema), path)


def release(folder: Path, rows: list[tuple[str | None, str | None]], split: str = "noncommercial", **columns: Any) -> Path:
    """A snapshot as the authors publish it: PMID, address below the body, no text, no hash."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "id": [f"{pmid}_p{index}" for index, (pmid, _) in enumerate(rows)],
            "article_id": pa.array([pmid for pmid, _ in rows], pa.string()),
            "path": pa.array([path for _, path in rows], pa.string()),
            "text": columns.get("text", pa.nulls(len(rows), pa.string())),
        }
    )
    pq.write_table(table, folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


def jats(pmid: int, body: str, after: str = "", pmcid: int | None = None) -> str:
    front = article(pmid - 10, []).split("<body>")[0]
    return f"{front.replace(f'>{pmid - 10}<', f'>{pmcid or pmid - 10}<', 1)}{body}{after}</article>"


BODY = (
    "<body><p>First <italic>in vivo</italic>.</p><sec><title>T</title><p>10<sup>3</sup>/ml<!-- c -->x<?pi y?>z</p>"
    "<boxed-text><p>In a box</p></boxed-text><fig><caption><p>Shown</p></caption></fig><p> </p></sec></body>"
)
TEXTS = {
    "p[0]": "First in vivo .",
    "sec[0]/p[0]": "10 3 /ml x z",
    "sec[0]/fig[0]/caption[0]/p[0]": "Shown",
    "sec[0]/boxed-text[0]/p[0]": "In a box",  # beyond the authors' grammar
}


def write_articles(folder: Path, **texts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.xml").write_text(text, encoding="utf-8")
    return folder


def addressed(element: etree._Element, address: str = "") -> Iterator[tuple[str, etree._Element]]:
    for child in element.iterchildren(etree.Element):
        index = len(list(child.itersiblings(child.tag, preceding=True)))
        own = f"{address}/{child.tag}[{index}]".lstrip("/")
        yield own, child
        yield from addressed(child, own)

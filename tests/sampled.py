"""Made-up paragraphs to draw samples from."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from builder.annotation.sampling import SampleSettings
from builder.schema import PARAGRAPH_SCHEMA, SAMPLE_SCHEMA
from builder.steps.sample import DrawSample

Row: TypeAlias = dict[str, Any]
#: A folder and its files.
Where: TypeAlias = tuple[Path, list[str]]

ZONE_OF = {"Abstract": "abstract", "Funding": "back"}


def article(number: int, kind: str, titles: list[str], **facts: Any) -> list[Row]:
    name = f"PMC{number}.1"
    shared = {"article_type": kind, "journal": f"J{number % 7}", "publication_year": 2000 + number % 25}
    shared |= {"license_group": ("commercial", "noncommercial")[number % 2], "source_file": f"{name}.xml"} | facts
    return [
        {
            "id": f"{name}_p{index}",
            "path": f"/article/body/p[{index + 1}]",
            "text": f"Made up for {name}, {index}.",
            "section_path": [title],
            "zone": ZONE_OF.get(title, "body"),
            "paragraph_index": index,
            "token_count": 64 + (37 * number + 11 * index) % 500,
            "text_sha256": f"{number:060d}{index:04d}",
            **shared,
        }
        for index, title in enumerate(titles)
    ]


def corpus(articles: int = 400) -> list[list[Row]]:
    """Articles of 3 to 38 paragraphs: one in twenty is a case report, conclusions are rare."""
    chance = random.Random(1)
    made = []
    for number in range(1, articles + 1):
        if number % 20 == 0:
            made.append(article(number, "case-report", ["Abstract", "Case report", "Case report", "Discussion"]))
        else:
            body = [
                title for title in ("Introduction", "Methods", "Results", "Discussion") for _ in range(chance.randint(0, 9))
            ]
            ends = ["Conclusion"] if number % 4 == 0 else []
            made.append(article(number, "research-article", ["Abstract", "Results", *body, *ends, "Funding"]))
    return made


def write(folder: Path, files: list[list[Row]], row_group_size: int = 1000) -> Where:
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number:05d}.parquet" for number in range(len(files))]
    for name, rows in zip(names, files, strict=True):
        pq.write_table(pa.Table.from_pylist(rows, PARAGRAPH_SCHEMA), folder / name, row_group_size=row_group_size)
    return folder, names


def flat(articles: list[list[Row]]) -> list[Row]:
    return [row for rows in articles for row in rows]


#: The paragraphs of :func:`corpus`, by id.
ROWS = {row["id"]: row for row in flat(corpus())}


def sample(where: Where, size: int, **options: Any) -> pa.Table:
    batches = [item for item in run(where, size, **options) if isinstance(item, pa.RecordBatch)]
    return pa.Table.from_batches(batches, SAMPLE_SCHEMA)


def run(where: Where, size: int, **options: Any) -> Iterator[Any]:
    return DrawSample(*where, SampleSettings(size, **options)).run()

"""A dataset as it is published: all recipes, two of one's own, a validation split, and the script beside the data."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.running import run_builder

OWN = """
name = "weighted"
summary = "By the share of clinical paragraphs, within a budget."
rows = [[["language", "==", "en"]], [["rounded_score", ">=", 2]]]
tokens = 900

[[upsample_articles]]
name = "share"
paragraphs = [["domain", "==", "clinical"]]
most = 4
"""
OWN_PREFIXED = """
name = "scored"
summary = "With a rule that no other recipe has, before another text."
prefix = "{journal}: "

[[articles]]
name = "high"
paragraphs = [["educational_score", ">=", 2.5]]
above = 0.2

[[upsample_paragraphs]]
name = "case"
paragraphs = [["document_type", "==", "Clinical case"]]
factor = 3
"""
#: The card lists files of their own for these, which hold rows in another order than the base files.
IN_ANY_ORDER = ("encoder", "prefixed", "all", "whole_articles", "scored")


def publish(work: Path, place: Path) -> Path:
    """Assemble it from the labels of a build, in ``place``."""
    (place / "own.toml").write_text(OWN)
    (place / "prefixed.toml").write_text(OWN_PREFIXED)
    shutil.copytree(work, place / "work")
    folder = place / "biomed-enriched"
    done = run_builder(
        "assemble", "--work", place / "work", "--output", folder, "--validation", 0.4,
        "--recipe", place / "own.toml", "--recipe", place / "prefixed.toml",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder

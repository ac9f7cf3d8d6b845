"""A recipe as the config of a dataset's card, made of the files that are there.

That works where the dataset's files are sorted by what the recipe asks of articles and paragraphs; where they are not, the
text says what is missing and which command makes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import PurePosixPath
from typing import Any, Final

import yaml

from enriched.catalog import Catalog

_PARAGRAPHS: Final = "paragraphs"
_VALIDATION: Final = "validation"
Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Bucket:
    """What the name of a file tells: upsampled paragraphs by which names, the split, and the marks of the articles."""

    copies: tuple[str, ...]
    split: str
    marks: tuple[str, ...]


def card_config(values: Values, catalog: Catalog) -> str:
    """YAML to be put below ``configs:`` in the dataset's card."""
    if missing := _missing(values, catalog.recipes):
        lines = ["# The files of this dataset do not tell apart:", *(f"#   {one}" for one in missing)]
        lines += ["# Save the TOML and let the builder sort them; it writes the config into the card of my-dataset:"]
        lines += [f"#   biomed-builder assemble --recipe {values['name']}.toml --output my-dataset"]
        return "\n".join(lines) + "\n"
    files = {file for splits in catalog.configs.values() for split in splits.values() for file in split.files}
    listed: dict[str, list[str]] = {}
    for file in sorted(files):
        if (bucket := _bucket_of(file)) and (times := _times(values, bucket)):
            listed.setdefault(bucket.split, []).extend([file] * times)
    config: dict[str, Any] = {"config_name": values["name"], "description": values["summary"]}
    config["data_files"] = [{"split": split, "path": paths} for split, paths in sorted(listed.items())]
    if values.get("rows"):
        config["filters"] = values["rows"]
    return yaml.safe_dump([config], sort_keys=False, allow_unicode=True, width=120)


def _missing(values: Values, recipes: Sequence[Values]) -> list[str]:
    plain = [one for one in recipes if not one.get("prefix") and one.get("granularity") != "article"]
    rules = [rule for one in plain for rule in (*one.get("articles", []), *one.get("upsample_articles", []))]
    upsamplings = [up for one in plain for up in one.get("upsample_paragraphs", [])]
    wanted = [*values.get("articles", []), *values.get("upsample_articles", [])]
    found = [
        f"articles by the rule {rule['name']}: {_said(rule)}"
        for rule in wanted
        if not any(_same(rule, one) for one in rules)
    ]
    found += [
        f"paragraphs by the rule {up['name']}: {_said(up)}"
        for up in values.get("upsample_paragraphs", [])
        if not any(_same(up, one) for one in upsamplings)
    ]
    if wanted and values.get("upsample_paragraphs"):
        beside = [one for one in plain if one.get("upsample_paragraphs")]
        sorted_by = [rule for one in beside for rule in (*one.get("articles", []), *one.get("upsample_articles", []))]
        found += [
            f"copies of paragraphs by the rule of their article {rule['name']}: {_said(rule)}"
            for rule in wanted
            if not any(_same(rule, one) for one in sorted_by)
        ]
    return list(dict.fromkeys(found))


def _same(one: Values, other: Values) -> bool:
    keys = ("name", "paragraphs", "above", "most")
    return all(one.get(key) == other.get(key) for key in keys)


def _said(rule: Values) -> str:
    above = f" in more than {rule['above']:.0%} of the paragraphs" if rule.get("above") else ""
    return " and ".join(" ".join(map(str, condition)) for condition in rule["paragraphs"]) + above


def _bucket_of(file: str) -> _Bucket | None:
    """None for files whose text is changed."""
    parts = PurePosixPath(file).name.removesuffix(".parquet").split("-")[:-3]
    copies: tuple[str, ...] = ()
    if parts and parts[0].split(".")[0] == _PARAGRAPHS:
        copies, parts = tuple(parts[0].split(".")[1:]), parts[1:]
    if not parts or parts[0] not in ("commercial", "noncommercial", _VALIDATION):
        return None
    return _Bucket(copies, parts[0], tuple(mark for mark in parts[1:] if mark != "plain"))


def _times(values: Values, bucket: _Bucket) -> int:
    """How often a recipe lists the files of a bucket."""
    if not all(rule["name"] in bucket.marks for rule in values.get("articles", [])):
        return 0
    own = [up["factor"] for up in values.get("upsample_paragraphs", []) if up["name"] in bucket.copies]
    if bucket.split == _VALIDATION or (bucket.copies and not own):
        return int(not bucket.copies)
    factors = [up["factor"] if up["name"] in bucket.marks else 1 for up in values.get("upsample_articles", [])]
    how = values.get("combine", "max")
    once = _combined(factors, how)
    return _combined([*factors, *own], how) - once if bucket.copies else once


def _combined(factors: Sequence[int], how: str) -> int:
    if how == "max":
        return max([1, *factors])
    return prod(factors) if how == "product" else 1 + sum(factor - 1 for factor in factors)

"""The card of a folder of annotations, so that it can be published as a dataset of its own."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from jinja2 import Environment, StrictUndefined

import dataset_card
from builder import __version__
from builder.atomic import write_text
from builder.schema import DOCUMENT_TYPES, DOMAINS, EDUCATIONAL_SCORES
from builder.shards import StageFolder

CARD: Final = "README.md"
_TEMPLATE: Final = "annotations.md.jinja"
_CLASSES: Final = {"document_type": DOCUMENT_TYPES, "domain": DOMAINS, "educational_score": EDUCATIONAL_SCORES}
_COLUMNS: Final = (*_CLASSES, "weight", "annotator_revision", "server", "domain_scores")
_PREFIX: Final = "paragraphs: "


def write_card(annotations: StageFolder, sample: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``README.md`` for a complete stage, and return what it tells.

    ``sample`` is the settings by which the sample was drawn. The YAML makes two configs: ``labels``, and ``rejections``
    where there are any.
    """
    facts = gather(annotations) | {"sample": _words(sample)}
    front = yaml.safe_dump(_front(annotations, facts), sort_keys=False, allow_unicode=True)
    text = (Path(dataset_card.__file__).parent / _TEMPLATE).read_text(encoding="utf-8")
    # not for HTML: names of models are plain text in Markdown
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    environment.filters["plain"] = _plain
    template = environment.from_string(text)
    write_text(annotations.path / CARD, f"---\n{front}---\n\n{template.render(facts)}")
    return facts


def gather(annotations: StageFolder) -> dict[str, Any]:
    """Counts of the rows and rejections of a complete stage, with its settings."""
    manifest = annotations.manifest()
    counts = manifest["counts"]
    drawn: dict[str, Counter[Any]] = {name: Counter() for name in _CLASSES}
    corpus: dict[str, dict[Any, float]] = {name: defaultdict(float) for name in _CLASSES}
    revisions: set[str] = set()
    servers: set[str] = set()
    soft, weighted = 0, True
    for record in manifest["shards"]:
        table = pq.read_table(annotations.path / record["file"], columns=list(_COLUMNS))
        soft += table.num_rows - table["domain_scores"].null_count
        weighted = weighted and not table["weight"].null_count
        revisions.update(pc.unique(table["annotator_revision"].drop_null()).to_pylist())
        servers.update(pc.unique(table["server"].drop_null()).to_pylist())
        weights = [weight or 0.0 for weight in table["weight"].to_pylist()]
        for name in _CLASSES:
            for value, weight in zip(table[name].to_pylist(), weights, strict=True):
                drawn[name][value] += 1
                corpus[name][value] += weight
    rejected = counts.get("rejected", {})
    return {
        **{
            key: manifest["settings"][key]
            for key in ("annotator", "rubric_version", "prompt_sha256", "seed", "temperature")
        },
        "version": __version__,
        "rows": manifest["rows"],
        "prompt_tokens": counts["prompt tokens"],
        "completion_tokens": counts["completion tokens"],
        "revisions": sorted(revisions),
        "servers": sorted(servers),
        "soft": soft,
        "weighted": weighted and bool(manifest["rows"]),
        "distribution": _distribution(drawn, corpus),
        "rejected": [(reason.removeprefix(_PREFIX), number) for reason, number in sorted(rejected.items())],
    }


def _distribution(drawn: Mapping[str, Counter[Any]], corpus: Mapping[str, Mapping[Any, float]]) -> list[dict[str, Any]]:
    return [
        {
            "label": label,
            "name": str(name),
            "rows": drawn[label][name],
            "share": drawn[label][name] / max(drawn[label].total(), 1),
            "corpus": corpus[label].get(name, 0.0) / (sum(corpus[label].values()) or 1),
        }
        for label, classes in _CLASSES.items()
        for name in classes
    ]


def _plain(name: str) -> str:
    """A name from outside, for Markdown: one line, no markup, not long."""
    kept = "".join(one if one.isprintable() and one not in "`|<>[]*_#" else " " for one in name)
    return " ".join(kept.split())[:120]


def _words(sample: Mapping[str, Any]) -> str:
    licenses: Sequence[str] = sample["licenses"]
    limit = f"at most {sample['per_article']} an article" if sample["per_article"] else "any number an article"
    raised = f"{sample['case_share']:.0%} of case reports and {sample['rare_share']:.0%} of rare sections wanted"
    return f"seed {sample['seed']}, {limit}, {raised}, licences: {', '.join(licenses) or 'all'}"


def _front(annotations: StageFolder, facts: Mapping[str, Any]) -> dict[str, Any]:
    labels = [record["file"] for record in annotations.manifest()["shards"] if record["rows"]]
    rejections = sorted(f"{path.parent.name}/{path.name}" for path in annotations.rejects.glob("*.parquet"))
    configs = [("labels", labels), ("rejections", rejections)]
    return {
        "pretty_name": f"Labels of biomedical paragraphs by {facts['annotator']}",
        "license": "other",
        "language": ["en"],
        "task_categories": ["text-classification"],
        "tags": ["biology", "medical", "PubMed Central", "annotations"],
        "configs": [
            {
                "config_name": name,
                "data_files": [{"split": "train", "path": files}],
                **({"default": True} if name == "labels" else {}),
            }
            for name, files in configs
            if files
        ],
    }

"""How a dataset was made, by its stages' manifests: source, labels, engine, flags, and the commands that do it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from builder.annotation.labels import PLOS_LABELS, TRAIN_LABELS
from builder.dataset.placement import Placement
from builder.dataset.recipes import RECIPES
from builder.errors import StudentError
from builder.fetch import SAMPLE_CORPUS, sha256_of
from builder.layout import Work
from builder.schema import DOCUMENT_TYPES, DOMAINS
from builder.sources import PLOS, PMC_SAMPLE
from builder.steps.propagate import ENGINE_COUNT
from builder.student.config import METRICS_FILE, load_config

#: What NLM asks of those who pass its data on (https://pmc-oa-opendata.s3.amazonaws.com/README.txt).
PMC_NOTICE: Final = (
    "NIH NLM NCBI PubMed Central (PMC) Article Datasets - Full-Text Biomedical and Life Sciences Journal Articles on AWS "
    "was accessed on {day} from https://registry.opendata.aws/ncbi-pmc. This dataset does not reflect what NLM has added, "
    "changed or withdrawn since. NLM does not endorse it."
)
#: Under which name the manifest of ``work/predictions/`` has :func:`student_note`.
STUDENT_NOTE: Final = "student"
_CLASSES: Final = {"document_type": DOCUMENT_TYPES, "domain": DOMAINS}
_RATES: Final = ("precision", "recall", "f1", "support")


@dataclass(frozen=True, slots=True)
class Making:
    """What the card tells of how the dataset was made.

    ``student`` is a :func:`student_note`, None where it is not known; ``engines`` are rows by the engine that labelled
    them. ``inventory_day`` is the day on which the list of articles was taken, empty where the source has none.
    """

    source: str
    inventory_day: str
    articles: int
    min_tokens: int
    student_digest: str
    student: dict[str, Any] | None
    engines: dict[str, int]
    near_duplicates: bool
    benchmarks: tuple[str, ...]
    commands: str


def making_of(work: Work, placement: Placement) -> Making:
    """Gather it from the manifests of the stages."""
    ingested, predicted, flagged = (one.manifest() for one in (work.paragraphs, work.predictions, work.flags))
    benchmarks = [name for name, _ in flagged["settings"].get("benchmarks", ())]
    return Making(
        source=source_sentence(ingested),
        inventory_day=ingested["notes"]["listed_on"],
        articles=ingested["counts"].get("articles read", 0),
        min_tokens=ingested["settings"]["min_tokens"],
        student_digest=predicted["settings"]["student"],
        student=predicted["notes"].get(STUDENT_NOTE),
        engines={
            name.removeprefix(ENGINE_COUNT): rows
            for name, rows in predicted["counts"].items()
            if name.startswith(ENGINE_COUNT)
        },
        near_duplicates=bool(flagged["settings"].get("near_duplicates")),
        benchmarks=tuple(dict.fromkeys(benchmarks)),
        commands=rebuild_commands(ingested["settings"], flagged["settings"], placement),
    )


def student_note(folder: Path) -> dict[str, Any]:
    """What the card tells of a student: where its labels are from, its encoder, its scores on articles it has not seen.

    ``scores`` is None where the folder has none. Words come from somebody's files: they are plain and not long.

    Raises:
        StudentError: the folder holds no student, or its scores are not those that training writes.
    """
    config = load_config(folder)
    learned = config.training.get("paragraphs")
    return {
        "encoder": _plain(config.encoder),
        "teacher": _plain(_teacher(config.training)),
        "learned_paragraphs": learned if isinstance(learned, int) else None,
        "scores": _scores(folder / METRICS_FILE),
    }


def _scores(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        return {
            **{name: int(metrics[name]) for name in ("paragraphs", "articles")},
            **{label: _by_class(metrics[label], classes) for label, classes in _CLASSES.items()},
            "educational_score": {
                name: _number(metrics["educational_score"][name]) for name in ("spearman", "mae", "median_mae")
            },
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudentError(f"cannot read the student's scores in {path}: {error}; train it again") from error


def _by_class(found: Mapping[str, Any], classes: tuple[str, ...]) -> dict[str, Any]:
    return {
        **{name: _number(found[name]) for name in ("accuracy", "macro_f1", "majority_share")},
        "classes": {
            name: {rate: _number(found["classes"][name][rate]) for rate in _RATES}
            for name in classes
            if name in found["classes"]
        },
    }


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _plain(name: str) -> str:
    """A name from outside, for Markdown: one line, no markup."""
    kept = "".join(one if one.isprintable() and one not in "`|<>[]*_#" else " " for one in name)
    return " ".join(kept.split())[:120]


def _teacher(training: Mapping[str, Any]) -> str:
    """Who gave the labels that a student learned from, under which rubric."""
    origins = str(training.get("labels_sha256") or "").split(", ")
    recorded = [path for path in (TRAIN_LABELS, PLOS_LABELS) if sha256_of(path) in origins]
    if recorded and len(recorded) == len(origins):
        with recorded[0].open(encoding="utf-8") as lines:
            first = json.loads(next(lines))
        return f"{first['annotator']}, rubric version {first['rubric']}, recorded in this program"
    return str(training.get("labels") or "not known")


def source_sentence(ingested: Mapping[str, Any]) -> str:
    """Where the articles come from, from the manifest of ``work/paragraphs/``."""
    source = ingested["settings"]["source"]
    articles = ingested["counts"].get("articles read", 0)
    if source == PLOS:
        package = f"{SAMPLE_CORPUS.name} {SAMPLE_CORPUS.version}"
        return f"{articles:,} articles of PLOS journals in JATS, from the Python package {package}."
    if is_pmc(source):
        day = ingested["notes"]["listed_on"]
        return f"{articles:,} articles in JATS, from PubMed Central as it was on {day}. {PMC_NOTICE.format(day=day)}"
    return f"{articles:,} articles in JATS, from {_place(source)}."


def is_pmc(source: str) -> bool:
    """Whether a source is PubMed Central's bucket, whole or as a sample."""
    return source == PMC_SAMPLE or source.startswith("s3://")


def _place(source: str) -> str:
    """A source without what only its user's machine knows."""
    return source if "://" in source else Path(source).name


def rebuild_commands(ingested: Mapping[str, Any], flagged: Mapping[str, Any], placement: Placement) -> str:
    """Lines for a shell that make such a dataset again, from the settings of ``work/paragraphs/`` and ``work/flags/``.

    What is a file of the user's (ids, a tokenizer, benchmarks, recipes) is named and not given.
    """
    propagate = ["propagate", "--student", "STUDENT"]
    lines = [_ingest(ingested), propagate, _flag(flagged), _assemble(placement)]
    return "\n".join(f"biomed-builder {shlex.join(line)} --work work" for line in lines)


def _ingest(settings: Mapping[str, Any]) -> list[str]:
    source = settings["source"]
    said = ["ingest", "--source", "pmc" if source.startswith("s3://") else _place(source)]
    selection = settings.get("selection") or {}
    said += ["--license", "commercial"] if selection.get("license") == "commercial" else []
    for name in selection.get("include", ()):
        said += ["--include", name]
    said += ["--since", selection["since"]] if selection.get("since") else []
    said += ["--ids", "ids.txt"] if selection.get("ids") else []
    said += ["--limit", str(settings["limit"])] if settings.get("limit") else []
    said += ["--tokenizer", "tokenizer"] if settings.get("tokenizer") else []
    return [*said, "--min-tokens", str(settings["min_tokens"])]


def _flag(settings: Mapping[str, Any]) -> list[str]:
    said = ["flag", *(["--near-duplicates"] if settings.get("near_duplicates") else [])]
    for name, _ in settings.get("benchmarks", ()):
        said += ["--benchmark", f"{name}=FILE"]
    return [*said, *(["--ngram", str(settings["ngram"])] if settings.get("ngram") else [])]


def _assemble(placement: Placement) -> list[str]:
    shipped = [recipe.name for recipe in placement.recipes if recipe in RECIPES]
    said = ["assemble", "--output", "biomed-enriched"]
    if len(shipped) < len(RECIPES):
        for name in shipped:
            said += ["--only", name]
    for recipe in placement.recipes:
        said += [] if recipe in RECIPES else ["--recipe", f"{recipe.name}.toml"]
    if placement.validation.share:
        said += ["--validation", str(placement.validation.share), "--validation-seed", str(placement.validation.seed)]
    return said

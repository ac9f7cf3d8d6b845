"""Which sample a first build is made of."""

from __future__ import annotations

from builder.fetch import SAMPLE_CORPUS
from builder.layout import Work
from builder.sources import PLOS, PMC_SAMPLE, SAMPLE, PmcOptions
from builder.sources.pmc import Bucket

#: How long PubMed Central may take to answer (seconds).
PATIENCE = 5.0


def settle_sample(source: str, work: Work, pmc: PmcOptions) -> tuple[str, str]:
    """The sample that ``sample`` stands for here, and a sentence that says which and why; any other source as it is.

    A working folder keeps the sample that it was begun with, so that a build that was stopped goes on.
    """
    if source != SAMPLE:
        return source, ""
    names = {PMC_SAMPLE: "200 articles of PubMed Central under CC BY", PLOS: "122 articles of PLOS journals"}
    begun = work.paragraphs.settings().get("source")
    if begun in names:
        return str(begun), f"Sample: {names[str(begun)]}, as {work.root} was begun with them."
    bucket = Bucket(pmc.address(PMC_SAMPLE), retry_seconds=2 * PATIENCE)
    number, version = next(iter((pmc.selected(PMC_SAMPLE).ids or {}).items()))
    silence = bucket.silence(number, version, PATIENCE)
    if not silence:
        return PMC_SAMPLE, f"Sample: {names[PMC_SAMPLE]}, from {bucket.address}."
    package = f"{SAMPLE_CORPUS.name} {SAMPLE_CORPUS.version}"
    return PLOS, f"Sample: {names[PLOS]}, from the Python package {package}, because {silence}."

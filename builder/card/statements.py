"""What is known of any dataset that is built here and cannot be counted: uses, limits, biases, what to do about a person.

The card and ``croissant.json`` say the same, so it stands here once.
"""

from __future__ import annotations

from typing import Final

from builder.card.facts import CardFacts

USES: Final = (
    "Choosing, counting and weighting paragraphs of biomedical articles for the pretraining of language models.",
    "Study of what open-access articles hold: clinical cases, teaching texts, languages, licences.",
    "Not for decisions about patients, for judging research or its authors, or for finding out who a patient is.",
)
LIMITS: Final = (
    "The labels are predictions of a small model that imitates labels of a language model. No physician has checked them, "
    "and nobody has measured how right they are about medicine.",
    "A clinical case is a paragraph that reads like one. Case reports describe the rare and the remarkable, in the "
    "language of journals; notes of hospitals read otherwise.",
    "`educational_score` says how much a text teaches, not whether it is true. Choosing by it favours texts that look like "
    "textbooks and examinations, which also raises scores on benchmarks that look so.",
    "Tables, figures, formulas as pictures, references and supplements are not in the text; neither are paragraphs that "
    "are too short, so that an article is not here as a whole.",
    "Articles become retracted, corrected and withdrawn after a build. Older findings may be known to be wrong today.",
)
REMOVAL: Final = (
    "To ask for the removal of a paragraph or an article, for yourself or for a patient, open a discussion on this "
    "dataset's page (tab Community) and give the `id` of the row or its `pmcid`; no reason is needed, and do not write "
    "there what the paragraph tells. The article is then left out of the next revision, and revisions that hold it can "
    "be deleted. The journal can have the article itself changed or withdrawn; what PubMed Central withdraws is gone "
    "from the next build."
)
MAINTENANCE: Final = (
    "Made anew from the source by the same commands. Articles that were retracted, withdrawn or lost their licence "
    "leave the dataset with the next build; each published revision has a tag and a manifest of its files with sha256."
)


def biases(facts: CardFacts) -> list[str]:
    """Biases with this dataset's numbers."""
    summary = facts.distributions.summary
    said = [
        "Only articles under open licences are here: publishers, countries and fields that publish so are "
        "over-represented, and so are recent years."
    ]
    if years := summary.year_quartiles():
        said.append(f"Half of the rows were published from {years[0]} to {years[2]}; the median year is {years[1]}.")
    if languages := facts.languages:
        said.append(f"{_percent(summary.share('languages', languages[0]))} of the rows are in the language {languages[0]}.")
    said.append(
        "The student learned from labels of mostly English paragraphs; on other languages its labels were not measured."
    )
    return said


def personal_sentence(facts: CardFacts) -> str:
    """What the search for personal data found."""
    found = facts.personal
    if not found.looked_at:
        return "No clinical case has text here, so nothing was looked for."
    of_all = "all" if found.looked_at == found.paragraphs else f"{found.looked_at:,} of the"
    return (
        f"Simple patterns were looked for in {of_all} {found.paragraphs:,} clinical case paragraphs that have text; "
        f"{found.any:,} of those ({_percent(found.any / found.looked_at)}) hold at least one match."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"

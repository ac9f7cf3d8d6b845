"""A small corpus of made-up articles in JATS. All patients, findings and authors in it are fictional."""

from __future__ import annotations

import random
from pathlib import Path

BY = '<license xlink:href="https://creativecommons.org/licenses/by/4.0/"><license-p>CC BY 4.0</license-p></license>'
BY_NC = '<license xlink:href="https://creativecommons.org/licenses/by-nc/4.0/"><license-p>NC</license-p></license>'
NONE = "<license><license-p>All rights reserved.</license-p></license>"

#: A word that stands in every paragraph of noncommercial articles and nowhere else.
NONCOMMERCIAL_WORD = "zzyxnoncommercial"

CASE = (
    "A {age}-year-old woman presented to the emergency department with a two-day history of fever, cough and pain"
    " in the left side of the chest. Her temperature was 39.1 degrees, her heart rate 118 per minute. Chest "
    "radiography showed a consolidation of the left lower lobe, and blood cultures grew Streptococcus pneumoniae."
    " She was treated with ceftriaxone, improved within three days and was discharged home on day six. At follow-"
    "up after four weeks the patient had no complaints and the radiograph was normal."
)
STUDY = (
    "Cells were grown in medium with ten per cent serum and treated with the inhibitor for {age} hours. Total "
    "protein was extracted, separated by gel electrophoresis and transferred to membranes, which were incubated "
    "with antibodies against the phosphorylated kinase. Band intensities were measured in three independent "
    "experiments and compared with a two-sided t test. Phosphorylation fell to {age} per cent of the control, "
    "which shows that the inhibitor acts on the kinase in living cells and not only on the purified enzyme."
)
FRENCH = (
    "Nous rapportons le cas d'une patiente de {age} ans hospitalisée pour une fièvre prolongée associée à une "
    "toux sèche et à une perte de poids. L'examen clinique montrait des adénopathies cervicales, et la "
    "radiographie du thorax était normale. Les prélèvements bactériologiques sont restés négatifs, mais la "
    "biopsie ganglionnaire a permis de poser le diagnostic de tuberculose. Un traitement par quatre antibiotiques"
    " a été commencé, et l'état de la patiente s'est amélioré en six semaines."
)
REVIEW = (
    "Type 2 diabetes is a chronic disease in which the body does not respond properly to insulin, the hormone that "
    "lets cells take up glucose from the blood. At first the beta cells of the pancreas make up for this resistance "
    "by secreting more insulin; when they can no longer do so, blood glucose rises. Persistently high glucose "
    "damages small vessels in the retina, the kidney and the nerves, and speeds up atherosclerosis in large ones. "
    "Weight loss and physical activity improve the response to insulin, and metformin, which lowers the production "
    "of glucose in the liver, is therefore the first drug in about {age} per cent of patients."
)
SHORT = "Short note {age}."


def article(number: int, paragraphs: list[str], license_xml: str = BY, title: str = "Findings") -> str:
    """One article with its paragraphs in one section."""
    body = "".join(f"<p>{text}</p>" for text in paragraphs)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<article xmlns:xlink="http://www.w3.org/1999/xlink" article-type="research-article" xml:lang="en">'
        "<front><journal-meta><journal-title-group><journal-title>Journal of Made-up Cases</journal-title>"
        "</journal-title-group></journal-meta><article-meta>"
        f'<article-id pub-id-type="pmc">{number}</article-id><article-id pub-id-type="pmid">{number + 10}</article-id>'
        f'<article-id pub-id-type="doi">10.5555/made.up.{number}</article-id>'
        f"<title-group><article-title>Made-up article {number}</article-title></title-group>"
        "<contrib-group><contrib contrib-type='author'><name><surname>Nobody</surname><given-names>A.</given-names></name>"
        "</contrib></contrib-group><pub-date><year>2020</year></pub-date>"
        f"<permissions>{license_xml}</permissions></article-meta></front>"
        f"<body><sec><title>{title}</title>{body}</sec></body></article>"
    )


def write_corpus(folder: Path, articles: int = 12, paragraphs: int = 3, seed: int = 7) -> Path:
    """Articles of every kind: clinical and not, with and without cases, in French, noncommercial, of unknown licence."""
    choose = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(articles):
        number = 1000 + index
        kinds = ([CASE] * paragraphs, [STUDY] * paragraphs, [CASE, *[STUDY] * paragraphs], [FRENCH, *[CASE] * paragraphs])
        kinds = tuple([*kind, REVIEW] for kind in kinds)
        texts = [text.format(age=choose.randint(20, 80)) for text in kinds[index % 4]]
        texts.append(SHORT.format(age=index))
        license_xml = NONE if index % 6 == 5 else BY_NC if index % 3 == 1 else BY
        if license_xml == BY_NC:
            texts = [f"{text} {NONCOMMERCIAL_WORD}" for text in texts]
        (folder / f"PMC{number}.1.xml").write_text(article(number, texts, license_xml), encoding="utf-8")
    return folder

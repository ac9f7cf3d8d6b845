"""Paragraphs to try, written for this page: every document type and domain, and scores from 1 to 4."""

from __future__ import annotations

from typing import Final

from enriched.paragraph import Paragraph

EXAMPLES: Final[dict[str, Paragraph]] = {
    "Clinical case": Paragraph(
        "A 54-year-old man presented to the emergency department with sudden weakness of his right arm and slurred speech "
        "that had begun ninety minutes earlier. His medical history included hypertension and atrial fibrillation, for "
        "which he took no anticoagulant. On examination his blood pressure was 178/96 mmHg, and the NIHSS score was 11. "
        "Computed tomography showed no haemorrhage. He received intravenous alteplase followed by thrombectomy, and at "
        "three months he walked without help.",
        ("Case presentation",),
    ),
    "Clinical study": Paragraph(
        "We enrolled 412 adults with type 2 diabetes at eleven hospitals and assigned them at random to metformin with "
        "either placebo or the study drug for 24 weeks. The primary outcome was the change in glycated haemoglobin. "
        "Patients, physicians and assessors did not know the assignment. At week 24 the mean difference between groups "
        "was -0.6 percentage points (95% CI -0.8 to -0.4; p < 0.001), and serious adverse events occurred in 4.1% and 3.8% "
        "of patients.",
        ("Results",),
    ),
    "Laboratory study": Paragraph(
        "Cells were lysed in RIPA buffer with protease inhibitors, and 30 µg of protein from each sample were separated by "
        "SDS-PAGE and transferred to nitrocellulose membranes. Membranes were blocked with 5% milk and incubated overnight "
        "at 4 °C with primary antibodies against the phosphorylated kinase. Knockdown of the receptor by siRNA reduced "
        "phosphorylation by 70% compared with control cells, which suggests that the pathway is activated downstream.",
        ("Methods", "Western blotting"),
    ),
    "Review": Paragraph(
        "Mitochondria are the main source of energy in eukaryotic cells, and their dysfunction has been implicated in many "
        "neurodegenerative diseases. Over the past decade, several groups have shown that impaired mitophagy precedes the "
        "death of neurons. In this review we summarise how damaged mitochondria are recognised and removed, how mutations "
        "of the proteins that mark them lead to disease, and which of these steps might be targets for treatment.",
        ("Introduction",),
    ),
    "Explanation": Paragraph(
        "The heart pumps blood through two circuits that work side by side. The right ventricle sends blood to the lungs, "
        "where it takes up oxygen and gives off carbon dioxide; the left ventricle sends it to the rest of the body. "
        "Because the resistance of the lungs is low, the right ventricle needs little pressure and its wall is thin. When "
        "that resistance rises, for example in chronic lung disease, the wall first thickens and later fails, which "
        "explains why such patients develop swollen legs and an enlarged liver.",
        ("Introduction",),
    ),
    "Acknowledgements": Paragraph(
        "The authors thank the staff of the core facility for their support and two reviewers for their comments. "
        "This work was funded by a grant of the national research council. The funders had no role in the design of the "
        "study, in the collection and interpretation of data, or in the decision to publish. All authors read and approved "
        "the final manuscript, and declare that they have no competing interests.",
        ("Acknowledgements",),
    ),
    "Local news": Paragraph(
        "The town council met on Tuesday to discuss the new bus line. Residents complained about noise, and the mayor "
        "promised to look for another route. The next meeting is in May, and its minutes will be on the council's website.",
    ),
}

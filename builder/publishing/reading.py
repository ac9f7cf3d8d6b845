"""Which kind of folder it is, and what of it is published."""

from __future__ import annotations

from pathlib import Path

from builder.publishing.annotations import read_annotations
from builder.publishing.contents import CARD, MANIFEST, NotPublishable, Publication, front_matter, small_file, text_of
from builder.publishing.dataset import read_dataset
from builder.publishing.small import check_small
from builder.publishing.space import read_space
from builder.publishing.student import read_student
from builder.student.config import CONFIG_FILE


def read_folder(folder: Path) -> Publication:
    """Find out what kind of folder it is, and what of it is to be published; all but the rows of tables is looked at.

    Raises:
        NotPublishable: it is of no kind that is published, or is not as its kind should be.
        StudentError: it is a student that is not complete.
    """
    publication = _read(folder)
    for file in publication.files:
        if file.data is not None:
            check_small(file)
    return publication


def _read(folder: Path) -> Publication:
    if (folder / CONFIG_FILE).is_file():
        return read_student(folder)
    card = front_matter(text_of(small_file(folder, CARD))) if (folder / CARD).is_file() else {}
    if "sdk" in card:
        return read_space(folder)
    if (folder / MANIFEST).is_file():
        return read_dataset(folder)
    if (folder / "_build" / MANIFEST).is_file() and (card or (folder / "rejections").is_dir()):
        return read_annotations(folder)
    raise NotPublishable(
        f"{folder} is nothing that is published: give the folder of a dataset (assemble writes it, with {MANIFEST} and "
        f"{CARD}), of annotations, of a student, or of a Space"
    )

"""How recipes become files: which articles lie together, and which files a recipe lists how often.

Articles with the same *marks* (the rules of the recipes that hold of them) lie in the same bucket of files, so that an
article is upsampled by listing its bucket's files several times. Paragraphs that are upsampled lie a second time in small
files of their own. Only a recipe that changes text has a *form* of its own: files with the changed text, shared by all
recipes that change it alike.

A name of a file tells all that: ``commercial-clinical-case-00000-of-00003.parquet`` are articles with two marks,
``paragraphs.case-commercial-plain-…`` upsampled paragraphs, ``prefixed-commercial-case-…`` articles in the form of the
recipe ``prefixed``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from builder.dataset.conditions import ALL_ROWS, Predicate
from builder.dataset.identity import without_version
from builder.dataset.recipe import ArticleRule, ArticleWeight, ParagraphUpsampling, Recipe
from builder.errors import RecipeError
from builder.schema import SPLITS, VALIDATION

_PLAIN: Final = "plain"
_PARAGRAPHS: Final = "paragraphs"
_IN_BUDGET: Final = "in."
#: Upsampled paragraphs lie apart by every combination of the upsamplings that name them; each is a bit of a number.
_MOST_UPSAMPLINGS: Final = 16
COMMERCIAL, NONCOMMERCIAL = SPLITS
ALL_SPLITS: Final = (*SPLITS, VALIDATION)
Levelled = ArticleRule | ArticleWeight


@dataclass(frozen=True, slots=True)
class Form:
    """A form of the text. The plain one has no name; another has that of the first recipe that needs it.

    ``whole`` puts the paragraphs of an article for which ``rows`` holds into one row.
    """

    name: str = ""
    prefix: str = ""
    whole: bool = False
    rows: Predicate = ALL_ROWS


PLAIN_FORM: Final = Form()


@dataclass(frozen=True, slots=True)
class Bucket:
    """What the articles or paragraphs of a file have in common. ``classes``: upsampled paragraphs, and by which names."""

    form: str
    classes: tuple[str, ...]
    split: str
    marks: tuple[str, ...]

    @property
    def name(self) -> str:
        """What the names of its files begin with."""
        head = piece_name(self.form, self.classes)
        return "-".join([*([head] if head else []), self.split, *(self.marks or [_PLAIN])])

    @property
    def is_plain(self) -> bool:
        """Whether its files hold paragraphs once, with their text as it is: together they are the base."""
        return not self.form and not self.classes

    @classmethod
    def of_file(cls, file: str) -> Bucket:
        """Read the name of a file."""
        head, *rest = file.removesuffix(".parquet").split("-")[:-3]
        if head in ALL_SPLITS:
            head, rest = "", [head, *rest]
        return cls(*read_piece(head), rest[0], tuple(mark for mark in rest[1:] if mark != _PLAIN))


def piece_name(form: str, classes: Sequence[str]) -> str:
    """What the names of files with a form, or with the upsampled paragraphs of one, begin with; empty for plain text."""
    return ".".join([*([form] if form else []), *([_PARAGRAPHS, *classes] if classes else [])])


def read_piece(name: str) -> tuple[str, tuple[str, ...]]:
    """The form and the classes of a :func:`piece_name`."""
    head, *rest = name.split(".")
    return ("", tuple(rest)) if head == _PARAGRAPHS else (head, tuple(rest[1:]))


@dataclass(frozen=True, slots=True)
class Validation:
    """Commercial articles whose hash is below ``share`` are kept apart, in a split of their own."""

    share: float = 0.0
    seed: int = 1

    def has(self, article: str) -> bool:
        """Whether an article is kept apart, by its id; a new version of it too."""
        return fraction(f"{self.seed}:validation:{without_version(article)}") < self.share


NO_VALIDATION: Final = Validation()


def fraction(text: str) -> float:
    """A number from 0 to below 1 that depends on the text alone, and evenly."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


@dataclass(frozen=True)
class Placement:
    """The recipes of a dataset together.

    ``budgets`` maps recipe and split to the fraction below which articles are within the recipe's budget of tokens; it is
    known when all articles are.

    Raises:
        RecipeError: two recipes, or two rules that differ, have the same name.
    """

    recipes: tuple[Recipe, ...]
    validation: Validation = NO_VALIDATION
    budgets: dict[str, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [recipe.name for recipe in self.recipes]
        if twice := {name for name in names if names.count(name) > 1}:
            raise RecipeError(f"several recipes have the name {sorted(twice)[0]}: give each its own")
        _ = self.rules, [self.upsamplings(form) for form in self.forms]

    @cached_property
    def rules(self) -> tuple[Levelled, ...]:
        """What is to be known of every article."""
        found: dict[str, Levelled] = {}
        for recipe in self.recipes:
            for rule in _rules_of(recipe):
                if found.setdefault(rule.name, rule) != rule:
                    raise RecipeError(f"recipe {recipe.name}: another recipe has a different rule {rule.name}; rename one")
        return tuple(found.values())

    @cached_property
    def forms(self) -> tuple[Form, ...]:
        """The forms of the text, the plain one first."""
        found = {PLAIN_FORM: PLAIN_FORM}
        for recipe in self.recipes:
            nameless = _nameless(recipe)
            if nameless not in found:
                found[nameless] = Form(recipe.name, nameless.prefix, nameless.whole, nameless.rows)
        return tuple(found.values())

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are needed to know the marks of articles and what is upsampled."""
        predicates = [rule.paragraphs for rule in self.rules]
        for recipe in self.recipes:
            predicates += [upsampling.paragraphs for upsampling in recipe.upsample_paragraphs]
            predicates += [recipe.rows] if recipe.tokens or recipe.granularity == "article" else []
        return tuple(dict.fromkeys(column for predicate in predicates for column in predicate.columns))

    def form_of(self, recipe: Recipe) -> Form:
        """The form of the text that a recipe reads."""
        nameless = _nameless(recipe)
        return next(form for form in self.forms if Form("", form.prefix, form.whole, form.rows) == nameless)

    def form_named(self, name: str) -> Form:
        """The form of that name.

        Raises:
            RecipeError: no recipe has it.
        """
        for form in self.forms:
            if form.name == name:
                return form
        raise RecipeError(f"no recipe has a text of the form {name!r}; run assemble again")

    def recipes_in(self, form: Form) -> list[Recipe]:
        """The recipes that read this form."""
        return [recipe for recipe in self.recipes if self.form_of(recipe) == form]

    def upsamplings(self, form: Form) -> tuple[ParagraphUpsampling, ...]:
        """The paragraphs that have files of their own in this form, distinct by name and condition."""
        found: dict[str, ParagraphUpsampling] = {}
        for recipe in self.recipes_in(form):
            for upsampling in recipe.upsample_paragraphs:
                if found.setdefault(upsampling.name, upsampling).paragraphs != upsampling.paragraphs:
                    raise RecipeError(
                        f"recipe {recipe.name}: another recipe upsamples other paragraphs as {upsampling.name}; rename one"
                    )
        if len(found) > _MOST_UPSAMPLINGS:
            raise RecipeError(
                f"{len(found)} upsamplings of paragraphs ({', '.join(found)}) are more than the {_MOST_UPSAMPLINGS} that "
                "recipes can have together; take fewer, or assemble some of the recipes into another folder"
            )
        return tuple(found.values())

    def marks_that_matter(self, form: Form, classes: bool, marks: Collection[str]) -> tuple[str, ...]:
        """Those of an article's marks that a recipe looks at in this form (of upsampled paragraphs, with ``classes``)."""
        wanted: set[str] = set()
        for recipe in self.recipes_in(form):
            if not classes or recipe.upsample_paragraphs:
                wanted.update(rule.name for rule in _rules_of(recipe))
                wanted.update([_IN_BUDGET + recipe.name] if recipe.tokens else [])
        return tuple(mark for mark in marks if mark in wanted or mark.partition(".")[0] in wanted)

    def buckets_of(self, split: str, marks: Sequence[str], pieces: Collection[str]) -> list[Bucket]:
        """The buckets that an article has a part in. Changed text is only kept where there is text."""
        found = [
            Bucket(form.name, (), split, self.marks_that_matter(form, False, marks))
            for form in self.forms
            if (form == PLAIN_FORM or split != NONCOMMERCIAL) and not (form.whole and form.name not in pieces)
        ]
        for name, classes in map(read_piece, pieces):
            if classes and split != VALIDATION and (not name or split != NONCOMMERCIAL):
                form = self.form_named(name)
                found.append(Bucket(name, classes, split, self.marks_that_matter(form, True, marks)))
        return found

    def split_of(self, article: str, license_group: str) -> str | None:
        """The split of an article; None for one that may not be passed on."""
        if license_group not in SPLITS:
            return None
        return VALIDATION if license_group == COMMERCIAL and self.validation.has(article) else license_group

    def budget_mark(self, recipe: Recipe) -> str:
        """The mark of articles that are within a recipe's budget of tokens."""
        return _IN_BUDGET + recipe.name

    def budget_marks(self, article: str, split: str) -> list[str]:
        """Marks of the recipes with a budget of tokens that the article is within."""
        return [
            self.budget_mark(recipe)
            for recipe in self.recipes
            if recipe.tokens
            and (split == VALIDATION or budget_order(recipe, article) < self.budgets.get(recipe.name, {}).get(split, 2.0))
        ]

    def times(self, recipe: Recipe, bucket: Bucket) -> int:
        """How often a recipe lists the files of a bucket."""
        if bucket.form != self.form_of(recipe).name or not _takes(recipe, bucket.marks):
            return 0
        own = [up for up in recipe.upsample_paragraphs if up.name in bucket.classes]
        if bucket.split == VALIDATION or (bucket.classes and not own):
            return int(not bucket.classes)
        factors = [np.array([up.factor_of(bucket.marks)]) for up in recipe.upsample_articles]
        once = int(recipe.combined(factors, 1)[0])
        if not bucket.classes:
            return once
        return int(recipe.combined([*factors, *(np.array([up.factor]) for up in own)], 1)[0]) - once


def budget_order(recipe: Recipe, article: str) -> float:
    """Where an article, of any version, stands in the order in which a budget of tokens takes them, from 0 to below 1."""
    return fraction(f"{recipe.seed}:{recipe.name}:{without_version(article)}")


def row_factors(
    recipe: Recipe, rows: pa.Table, article_marks: Sequence[tuple[str, ...]], sizes: NDArray[np.int64]
) -> NDArray[np.int64]:
    """[rows]: how often each paragraph occurs, but for budgets: what listing files amounts to.

    ``rows`` are whole articles with the columns of the recipe's conditions; ``article_marks`` and ``sizes`` are [articles].
    """
    taken = np.array([_takes(recipe, marks, budgets=False) for marks in article_marks], dtype=bool)
    factors = [
        np.repeat(np.array([up.factor_of(marks) for marks in article_marks], np.int64), sizes)
        for up in recipe.upsample_articles
    ]
    factors += [np.where(up.paragraphs.mask(rows), up.factor, 1) for up in recipe.upsample_paragraphs]
    kept = recipe.rows.mask(rows) & np.repeat(taken, sizes)
    return np.where(kept, recipe.combined(factors, rows.num_rows), 0)


def _takes(recipe: Recipe, marks: Collection[str], budgets: bool = True) -> bool:
    within = not (recipe.tokens and budgets) or _IN_BUDGET + recipe.name in marks
    return within and all(rule.name in marks for rule in recipe.articles)


def _rules_of(recipe: Recipe) -> list[Levelled]:
    given = [up if isinstance(up, ArticleWeight) else up.rule for up in recipe.upsample_articles]
    return [*recipe.articles, *given]


def _nameless(recipe: Recipe) -> Form:
    whole = recipe.granularity == "article"
    return Form("", recipe.prefix, whole, recipe.rows if whole else ALL_ROWS)

"""The dataset folder that is to be filled: its data files, their splits, and by which rule their rows are addressed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from builder.errors import BuilderError, SourceError
from builder.fetch import sha256_of
from builder.populate.card import Card, matches, read_card
from builder.populate.formats import TEXT, DataFile, check_columns, filled_schema, open_data, read_json
from builder.populate.reasons import Rule

#: Bookkeeping of populate in its output. The leading dot hides its files from the guesses of load_dataset.
BOOKKEEPING = ".populate"
REPORT = "populate-report.json"
#: Folders that belong to tools and not to the dataset; they are not carried over.
TOOL_FOLDERS = frozenset({"_build", BOOKKEEPING, ".git", ".cache"})
#: Columns that the rows of a dataset need for each rule.
COLUMNS = {
    Rule.EXACT: ("id", "pmcid", "article_version", "path", "text_sha256"),
    Rule.LEGACY: ("article_id", "path"),
}
_HASH = "text_sha256"


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A data file: name in the dataset folder, split, rows, rows without text, and whether those are wanted."""

    name: str
    split: str
    rows: int
    nulls: int
    wanted: bool
    sha256: str
    """Of the file before it was filled; empty where nothing is wanted."""
    bytes: int
    """Size of the file before it was filled."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done in a dataset folder."""

    root: Path
    rule: Rule
    files: tuple[PlannedFile, ...]

    @property
    def wanted(self) -> tuple[PlannedFile, ...]:
        """The files that are to be filled."""
        return tuple(file for file in self.files if file.wanted)

    def data(self, file: PlannedFile) -> DataFile:
        """The file, to be read."""
        return open_data(self.root / file.name)


def plan_dataset(root: Path, splits: Sequence[str], rule: Rule | None, earlier: Mapping[str, PlannedFile]) -> Plan:
    """Look at every data file of ``root``.

    Args:
        root: the dataset folder.
        splits: fill rows of these splits only; empty for all.
        rule: None to tell it from the columns.
        earlier: files that an earlier run has filled in place, as they were before, by the sha256 they have now.

    Raises:
        SourceError: no dataset, a file that cannot be read or has other columns, a bad card or link, or no such split.
    """
    if not root.is_dir():
        raise SourceError(f"{root} is not a folder; pass a dataset folder, or download the dataset first")
    card = read_card(root)
    names = data_files(root, card)
    if not names:
        raise SourceError(f"no data files (.parquet, or .arrow of save_to_disk) in {root}; is this a dataset folder?")
    split_of = splits_of(names, card)
    missing = sorted(set(splits) - set(split_of.values()))
    if missing:
        there = ", ".join(sorted(set(split_of.values())))
        raise SourceError(f"no split {missing[0]!r} in {root}; it has: {there}")
    files = tuple(_look(root, name, split_of[name], splits, earlier) for name in names)
    return Plan(root, _rule(root, card, [file.name for file in files if file.wanted], rule), files)


def _look(root: Path, name: str, split: str, splits: Sequence[str], earlier: Mapping[str, PlannedFile]) -> PlannedFile:
    path = root / name
    if earlier and (before := earlier.get(sha256_of(path))) is not None and before.name == name:
        return before
    file = open_data(path)
    if file.schema().names.count(TEXT) > 1:
        check_columns(file, [TEXT])
    rows, nulls = file.count()
    wanted = nulls > 0 and (not splits or split in splits)
    return PlannedFile(name, split, rows, nulls, wanted, sha256_of(path) if wanted else "", path.stat().st_size)


def _rule(root: Path, card: Card, names: Sequence[str], forced: Rule | None) -> Rule:
    """The rule that fits all wanted files, whose columns are checked, and with them the filters of the card."""
    columns = {name: set(open_data(root / name).schema().names) for name in names}
    is_exact = not columns or any(_HASH in found for found in columns.values())
    rule = forced or (Rule.EXACT if is_exact else Rule.LEGACY)
    for name, found in columns.items():
        file = open_data(root / name)
        card.filters_of(name, filled_schema(file))
        check_columns(file, sorted({"id", *COLUMNS[rule]}), ["article_version"])
        lacking = [column for column in COLUMNS[rule] if column not in found]
        if lacking:
            raise SourceError(
                f"{root / name} has no column {', '.join(lacking)}, which the rule {rule.value!r} needs; "
                f"is this a folder of Biomed-Enriched? The rule can be chosen with --rule"
            )
    return rule


def data_files(root: Path, card: Card) -> list[str]:
    """Names of the data files: those that the card lists, else those of save_to_disk, else every parquet file."""
    everything = list(all_files(root))
    listed = [pattern for _, pattern in card.data_files]
    if listed:
        found = [name for name in everything if any(matches(name, pattern) for pattern in listed)]
        there = set(everything)
        missing = [pattern for pattern in listed if "*" not in pattern and pattern not in there]
        if missing:
            raise SourceError(f"{root / missing[0]} is missing, though the card lists it; download the dataset again")
        return [name for name in found if name.endswith(".parquet")]
    saved = [name for name in everything if PurePosixPath(name).name == "state.json"]
    if saved:
        return sorted(name for state in saved for name in _saved_files(root, state))
    return [name for name in everything if name.endswith(".parquet")]


def _saved_files(root: Path, state: str) -> Iterator[str]:
    folder = PurePosixPath(state).parent
    try:
        files = [str(item["filename"]) for item in read_json(root / state)["_data_files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(f"cannot read {root / state}: {error!r}; save the dataset again") from error
    for file in files:
        if "/" in file or "\\" in file or file.startswith(".") or not (root / folder / file).is_file():
            raise SourceError(f"{root / state} names a file that is not there: {file!r}; save the dataset again")
        yield (folder / file).as_posix()


def splits_of(names: Sequence[str], card: Card) -> dict[str, str]:
    """The split of each data file: as the card says, else its folder (save_to_disk), else the start of its name."""
    found = {}
    listed = card.data_files
    for name in names:
        path = PurePosixPath(name)
        by_card = (split for split, pattern in listed if matches(name, pattern))
        own = (path.parent.name or "train") if path.suffix == ".arrow" else path.stem.split("-")[0]
        found[name] = next(by_card, own)
    return found


def all_files(root: Path) -> Iterator[str]:
    """Names of all files of the dataset, sorted; what tools keep beside it is left out.

    Raises:
        SourceError: a link leads out of the dataset: what is there would be read and carried over.
    """
    inside = [Path(os.path.realpath(root))]
    if inside[0].parent.name == "snapshots":  # of the Hub's cache, whose files are links
        inside.append(inside[0].parent.parent / "blobs")
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in TOOL_FOLDERS)
        for path in (Path(folder) / name for name in (*folders, *files)):
            if path.is_symlink() and not any(map(Path(os.path.realpath(path)).is_relative_to, inside)):
                raise SourceError(f"{path} is a link that leads out of the dataset; put a copy in its place, or remove it")
        for file in sorted(files):
            if (Path(folder) / file).is_file():
                yield (Path(folder) / file).relative_to(root).as_posix()


def check_places(root: Path, output: Path | None, in_place: bool) -> Path:
    """Where the filled dataset goes.

    Raises:
        BuilderError: that would write over the dataset without having been asked to, or into a folder of others, or the
            bookkeeping there has links, so that a run would write elsewhere.
    """
    target = _target(root, output, in_place)
    _refuse_links(target / BOOKKEEPING)
    return target


def _refuse_links(bookkeeping: Path) -> None:
    inside = (Path(folder) / name for folder, *names in os.walk(bookkeeping) for name in (*names[0], *names[1]))
    for path in (bookkeeping, *inside):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:  # of another run, that goes on
            continue
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            raise SourceError(f"{path} is a link or no plain file, which populate never makes; remove it and run again")


def _target(root: Path, output: Path | None, in_place: bool) -> Path:
    if in_place:
        if output is not None and output.resolve() != root.resolve():
            raise BuilderError("--in-place fills the dataset folder itself; leave out --output")
        return root.resolve()
    if output is None:
        raise BuilderError("--output is missing: name a new folder for the filled copy, or use --in-place")
    source, target = root.resolve(), output.resolve()
    if source == target:
        raise BuilderError(f"--output is the dataset folder {source} itself; name another folder, or use --in-place")
    if source.is_relative_to(target) or target.is_relative_to(source):
        raise BuilderError(f"--output {target} and the dataset folder {source} lie in one another; name another folder")
    if target.is_dir() and any(target.iterdir()) and not (target / BOOKKEEPING).is_dir():
        raise BuilderError(f"{target} holds files that are not of an earlier run of populate; name a new folder")
    return target

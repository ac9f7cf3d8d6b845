"""Where the dataset and the student are: folders of this machine, or repositories of the Hub at a commit.

Environment variables say where; ``README.md`` beside ``app.py`` lists them. A revision is resolved to a commit once, so
that all that a running page shows comes from the same state of the repository.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from enriched.limits import CARD_BYTES
from enriched.problems import NotThere, Unreadable

Kind = Literal["dataset", "model"]

#: What `make build` and `make space` use, and how a Space names what lies beside it.
_FOLDERS: Final = {"dataset": "biomed-enriched", "model": "student"}
_REPOSITORIES: Final = {"dataset": "biomed-enriched", "model": "biomed-enriched-student"}
_VARIABLES: Final = {"dataset": "BIOMED_DATASET", "model": "BIOMED_STUDENT"}
_WORDS: Final = {"dataset": "dataset", "model": "student"}
_HOW: Final = {
    "dataset": "Run `make build`, which writes ./biomed-enriched, then `make space`; or set BIOMED_DATASET to a dataset "
    "folder or to a dataset of the Hub, org/name.",
    "model": "Run `make space` in the project, which uses the student that ships with it; or set BIOMED_STUDENT to a "
    "student folder or to a model of the Hub, org/name.",
}
_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[\w][\w.-]{0,95}")
#: Seconds that a request to the Hub may take.
_TIMEOUT: Final = 20.0


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of this machine."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def loading_name(self) -> str:
        """What `load_dataset` is called with."""
        return str(self.path)

    @property
    def revision(self) -> str:
        """None: a folder has no commits."""
        return ""

    def file(self, name: str) -> Path:
        """A file of it as a file of this machine.

        Raises:
            Unreadable: there is none, or it is larger than any card.
        """
        path = self.path / name
        if not path.is_file():
            raise Unreadable(f"{self.path} lacks {name}.")
        return path

    def sizes(self) -> dict[str, int]:
        """The parquet files, by path within it, with their bytes."""
        return {p.relative_to(self.path).as_posix(): p.stat().st_size for p in sorted(self.path.glob("data/**/*.parquet"))}

    def address(self, name: str) -> str:
        """What DuckDB reads a file by."""
        return str(self.path / name)


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of the Hub at a commit."""

    kind: Kind
    name: str
    revision: str

    def __str__(self) -> str:
        return f"{self.name} at {self.revision[:10]}"

    @property
    def loading_name(self) -> str:
        """What `load_dataset` is called with."""
        return self.name

    def file(self, name: str) -> Path:
        """A file of it, fetched into the Hub's cache.

        Raises:
            NotThere: the Hub cannot be reached.
            Unreadable: there is no such file.
        """
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

        try:
            return Path(hf_hub_download(self.name, name, repo_type=self.kind, revision=self.revision))
        except LocalEntryNotFoundError as error:
            raise NotThere(f"The Hub cannot be reached for {self.name}: {_first_line(error)}") from error
        except EntryNotFoundError as error:
            raise Unreadable(f"{self} lacks {name}.") from error
        except (HfHubHTTPError, OSError) as error:
            raise NotThere(f"{name} of {self} cannot be fetched: {_first_line(error)}") from error

    def sizes(self) -> dict[str, int]:
        """The parquet files, by path within it, with their bytes.

        Raises:
            NotThere: the Hub cannot be reached.
        """
        from huggingface_hub import HfApi, RepoFile
        from huggingface_hub.errors import HfHubHTTPError

        try:
            tree = HfApi().list_repo_tree(self.name, "data", repo_type=self.kind, revision=self.revision, recursive=True)
            return {e.path: e.size for e in tree if isinstance(e, RepoFile) and e.path.endswith(".parquet")}
        except (HfHubHTTPError, OSError) as error:
            raise NotThere(f"The files of {self} cannot be listed: {_first_line(error)}") from error

    def address(self, name: str) -> str:
        """What DuckDB reads a file by; see :mod:`enriched.hub_files`."""
        return f"hub://datasets/{self.name}@{self.revision}/{name}"


Place = Folder | Repository


def find(kind: Kind) -> Place:
    """The dataset (kind "dataset") or the student (kind "model").

    Raises:
        NotThere: there is none, or the Hub cannot be reached; the sentence says what to run.
    """
    said = os.environ.get(_VARIABLES[kind], "").strip() or _default(kind)
    if not said:
        raise NotThere(f"There is no {_WORDS[kind]} here. {_HOW[kind]}")
    if (folder := Path(said).expanduser()).is_dir():
        return Folder(folder.resolve())
    if not _NAME.fullmatch(said):
        raise NotThere(f"{_VARIABLES[kind]} is {said}, which is no folder and no name of the form org/name. {_HOW[kind]}")
    return _pinned(kind, said, os.environ.get(f"{_VARIABLES[kind]}_REVISION", "").strip() or "main")


def _default(kind: Kind) -> str:
    """The folder of that name, else, on a Space, the repository of the Space's owner."""
    if Path(_FOLDERS[kind]).is_dir():
        return _FOLDERS[kind]
    owner = os.environ.get("SPACE_AUTHOR_NAME", "")
    return f"{owner}/{_REPOSITORIES[kind]}" if owner else ""


def _pinned(kind: Kind, name: str, revision: str) -> Repository:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        info = HfApi().repo_info(name, repo_type=kind, revision=revision, timeout=_TIMEOUT)
    except RepositoryNotFoundError as error:
        raise NotThere(f"The Hub has no {kind} {name} that may be read from here. {_HOW[kind]}") from error
    except RevisionNotFoundError as error:
        raise NotThere(f"The {kind} {name} has no revision {revision}: set {_VARIABLES[kind]}_REVISION.") from error
    except (HfHubHTTPError, OSError) as error:
        raise NotThere(f"The Hub cannot be reached for the {kind} {name}: {_first_line(error)}") from error
    return Repository(kind, name, str(info.sha))


def read_small(place: Place, name: str) -> str:
    """The text of a card or a manifest.

    Raises:
        NotThere: the Hub cannot be reached.
        Unreadable: it is missing, too large, or no text.
    """
    path = place.file(name)
    if path.stat().st_size > CARD_BYTES:
        raise Unreadable(f"{name} of {place} has more than {CARD_BYTES:,} bytes.")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(f"{name} of {place} is no UTF-8 text: {error}") from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0][:300]

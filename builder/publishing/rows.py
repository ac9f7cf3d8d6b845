"""What rows of tables must be to leave: text only under licences that allow it, and nothing that the schema has not.

In a row whose article is noncommercial, ``text`` is null, and no column holds a paragraph of such a row: each value that is
long enough to be one is hashed and compared with the ``text_sha256`` of all of them in its row group, and so are the items
of a list put together. Values that no title, name or path reaches are refused whatever they are. That finds what a wrong
program does; somebody who spells a paragraph into the names of the authors could as well upload it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from builder.annotation.strata import VALUES
from builder.jats.licenses import LICENSES
from builder.publishing.contents import NotPublishable
from builder.schema import ANNOTATION_SCHEMA, DATASET_SCHEMA, REJECT_SCHEMA, WHOLE_ARTICLE_SCHEMA

#: What a row says of its licence: whether it allows commercial use and which one it is, or in annotations its stratum.
LICENSE_COLUMNS: Final = ("license_commercial", "license_code", "stratum")
_COMMERCIAL_CODES: Final = tuple(code for code, terms in LICENSES.items() if terms.commercial)
#: Longer values are no title and no name (bytes). The longest title of a section of 130,000 real paragraphs has 912.
_LONGEST: Final = 4096
#: Columns that hold titles, names or what people called their files. All others hold ids, addresses and labels, which are
#: shorter (bytes; the longest of 130,000 real paragraphs has 119).
_WORDY: Final = ("article_title", "section_title", "section_path", "journal", "authors", "source_file")
_LONGEST_OTHER: Final = 512
#: What the program says of a paragraph without a label, quoting nothing (bytes).
_LONGEST_DETAIL: Final = 200
#: The items of one row's list, together (bytes): a consortium may have thousands of authors.
_LONGEST_LIST: Final = 2**20
#: Shorter values are not compared with the text's hash: a heading may be all that a short paragraph says.
_SHORTEST_COPY: Final = 64
#: How the items of a list are put together.
_BETWEEN: Final = ("", " ", ",", ", ", "; ")
#: A reason of a language model is cut at fewer characters.
_LONGEST_REASON: Final = 2000
_LICENSE: Final = list(VALUES).index("licence")


def may_be_sold(rows: pa.Table) -> pa.ChunkedArray:
    """[rows]: whether the licence allows commercial use, by what the row says and by what its licence is."""
    if "stratum" in rows.column_names:
        strata = pc.dictionary_encode(pc.fill_null(rows["stratum"], "")).combine_chunks()
        commercial = pa.array([_license_of(name) == "commercial" for name in strata.dictionary.to_pylist()], pa.bool_())
        return pa.chunked_array([commercial.take(strata.indices)])
    said, code = rows["license_commercial"], rows["license_code"]
    return pc.and_(pc.fill_null(said, False), pc.is_in(code, pa.array(_COMMERCIAL_CODES, pa.string())))


@dataclass(frozen=True, slots=True)
class DatasetRows:
    """Rows of a dataset. ``textless``: of a split that has no text at all."""

    textless: bool

    def schema(self, found: pa.Schema, file: str) -> pa.Schema:
        """See :class:`builder.publishing.contents.RowRules`."""
        return _one_of(found, file, DATASET_SCHEMA, WHOLE_ARTICLE_SCHEMA)

    def check(self, rows: pa.Table, file: str) -> None:
        """See :class:`builder.publishing.contents.RowRules`."""
        allowed = may_be_sold(rows)
        has_text = pc.is_valid(rows["text"])
        if self.textless:
            _refuse(rows, has_text, file, "has text in a file of the split noncommercial, which has none")
        _refuse(
            rows, pc.and_(has_text, pc.invert(allowed)), file, "has text, and its licence does not allow commercial use"
        )
        _check_lengths(rows, file, exempt=("text",))
        _check_copies(rows, rows.filter(pc.invert(allowed)), file, exempt=("text",))


@dataclass(frozen=True, slots=True)
class AnnotationRows:
    """Rows of annotations: labels, and a reason only of articles whose licence allows commercial use."""

    def schema(self, found: pa.Schema, file: str) -> pa.Schema:
        """See :class:`builder.publishing.contents.RowRules`."""
        return _one_of(found, file, ANNOTATION_SCHEMA)

    def check(self, rows: pa.Table, file: str) -> None:
        """See :class:`builder.publishing.contents.RowRules`."""
        said = pc.is_valid(rows["reason"])
        _refuse(
            rows,
            pc.and_(said, pc.invert(may_be_sold(rows))),
            file,
            "has a reason, which may quote, and its article is not commercial",
        )
        _check_lengths(rows, file, exempt=("reason",))
        too_long = pc.greater(pc.fill_null(pc.utf8_length(rows["reason"]), 0), _LONGEST_REASON)
        _refuse(rows, too_long, file, f"has a reason of more than {_LONGEST_REASON} characters")
        _check_copies(rows, rows, file)


@dataclass(frozen=True, slots=True)
class RejectionRows:
    """Rows of what was set aside: ids and reasons."""

    def schema(self, found: pa.Schema, file: str) -> pa.Schema:
        """See :class:`builder.publishing.contents.RowRules`."""
        return _one_of(found, file, REJECT_SCHEMA)

    def check(self, rows: pa.Table, file: str) -> None:
        """See :class:`builder.publishing.contents.RowRules`."""
        _check_lengths(rows, file, exempt=("detail",))
        too_long = pc.greater(pc.fill_null(pc.binary_length(rows["detail"]), 0), _LONGEST_DETAIL)
        _refuse(rows, too_long, file, f"has a detail of more than {_LONGEST_DETAIL} bytes")


def _license_of(stratum: str) -> str:
    parts = stratum.split("/")
    return parts[_LICENSE] if len(parts) == len(VALUES) else ""


def _one_of(found: pa.Schema, file: str, *schemas: pa.Schema) -> pa.Schema:
    for schema in schemas:
        if found.names == schema.names:
            for field in schema:
                if found.field(field.name).type != field.type:
                    raise NotPublishable(
                        f"the column {field.name} of {file} is {found.field(field.name).type}, not {field.type}"
                    )
            return schema
    known = {name for schema in schemas for name in schema.names}
    odd = [name for name in found.names if name not in known]
    what = (
        f"has a column {odd[0][:40]!r}, which is in no schema of this program"
        if odd
        else "lacks columns, or has another order"
    )
    raise NotPublishable(f"{file} {what}: publish what this program made, as it made it")


def _refuse(rows: pa.Table, bad: pa.ChunkedArray, file: str, why: str) -> None:
    """Raise if any row is bad, with the id of the first; never with what it says."""
    number = pc.sum(bad).as_py() or 0
    if number:
        name = rows["id"][pc.index(bad, True).as_py()].as_py() if "id" in rows.column_names else None
        more = f" (and {number - 1:,} more rows)" if number > 1 else ""
        shown = name if name and len(name) <= 100 else "a row"
        raise NotPublishable(f"{file}: {shown} {why}{more}; nothing of this file leaves")


def _strings(rows: pa.Table) -> list[str]:
    return [field.name for field in rows.schema if pa.types.is_string(field.type)]


def _string_lists(rows: pa.Table) -> list[str]:
    return [
        field.name for field in rows.schema if pa.types.is_list(field.type) and pa.types.is_string(field.type.value_type)
    ]


def _check_lengths(rows: pa.Table, file: str, exempt: tuple[str, ...] = ()) -> None:
    for name in _strings(rows):
        if name not in exempt:
            most = _most_bytes(name)
            long = pc.greater(pc.fill_null(pc.binary_length(rows[name]), 0), most)
            _refuse(rows, long, file, f"has a {name} of more than {most:,} bytes")
    for name in _string_lists(rows):
        most = _most_bytes(name)
        if (pc.max(pc.binary_length(pc.list_flatten(rows[name]))).as_py() or 0) > most:
            raise NotPublishable(f"{file}: an item of {name} has more than {most:,} bytes; nothing of this file leaves")
        whole = pc.binary_length(pc.binary_join(rows[name], ""))
        _refuse(
            rows,
            pc.greater(pc.fill_null(whole, 0), _LONGEST_LIST),
            file,
            f"has more than {_LONGEST_LIST:,} bytes of {name}",
        )


def _most_bytes(name: str) -> int:
    return _LONGEST if name in _WORDY else _LONGEST_OTHER


def _check_copies(rows: pa.Table, closed: pa.Table, file: str, exempt: tuple[str, ...] = ()) -> None:
    """No column of ``rows`` may hold a text that ``text_sha256`` of ``closed`` is the hash of."""
    if not len(closed):
        return
    if "text_sha256" not in rows.column_names:
        raise NotPublishable(
            f"{file} has rows of noncommercial articles, and whole articles of these have no place in a dataset"
        )
    hashed = closed["text_sha256"]
    well_formed = pc.fill_null(pc.match_substring_regex(hashed, r"^[0-9a-f]{64}$"), False)
    _refuse(closed, pc.invert(well_formed), file, "has no text_sha256, so that nobody can tell what must not be in it")
    hashes = pc.unique(hashed)
    for name in _strings(rows):
        if name not in ("text_sha256", "judged_text_sha256", *exempt):
            _refuse(rows, _are_copies(rows[name], hashes), file, f"has a paragraph's text in the column {name}")
    for name in _string_lists(rows):
        if pc.any(_are_copies(pc.list_flatten(rows[name]), hashes)).as_py():
            raise NotPublishable(f"{file}: an item of {name} is the text of a paragraph; nothing of this file leaves")
        for between in _BETWEEN:
            together = pc.binary_join(rows[name], between)
            _refuse(rows, _are_copies(together, hashes), file, f"has a paragraph's text, in parts, in the column {name}")


def _are_copies(values: pa.ChunkedArray, hashes: pa.Array) -> pa.Array:
    """[values]: whether the sha256 of a value, with single spaces as paragraphs have them, is among the hashes."""
    encoded = values.combine_chunks().dictionary_encode()
    plain = [" ".join(value.split()) for value in encoded.dictionary.to_pylist()]
    found = [hashlib.sha256(one.encode()).hexdigest() if len(one) >= _SHORTEST_COPY else None for one in plain]
    among = pc.is_in(pa.array(found, pa.string()), hashes, skip_nulls=True)
    return pc.fill_null(among.take(encoded.indices), False)

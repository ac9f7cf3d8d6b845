"""Text for rows that come without it, from articles that the user has.

A dataset folder holds noncommercial paragraphs as labels and addresses: ``text`` is null. Whoever may use those articles
gets them elsewhere, as JATS files, and this package puts the texts into a copy of the folder. Four short stages, each
resumable, over one pool of processes (:mod:`builder.populate.stages`)::

    dataset files ──rows──▶ rows without text, by article ─┐
                                                           ├─extract─▶ texts, by row ──fill──▶ filled files
    source ────────index──▶ which file is which article ───┘

Rows and articles meet in buckets, chosen by a hash of the article's identity, so that each article is parsed once
whatever the order of the rows, and memory holds one bucket or one batch of rows.

Two rules say what the text of an address is (:class:`Rule`): ``exact`` for datasets built here, every text checked by its
hash and the article's version; ``legacy`` for the authors' release, which has neither, so that nothing can be checked.
"""

from __future__ import annotations

from builder.populate.reasons import Miss, Rule

__all__ = ["Miss", "Rule"]

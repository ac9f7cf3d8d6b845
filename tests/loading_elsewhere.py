"""Every config of a dataset folder by its card and by its loading script, with whatever ``datasets`` is installed.

A program too, for environments that have neither pytest nor this project::

    python tests/loading_elsewhere.py biomed-enriched cache > digests.json
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets

#: How a config is loaded.
MODES = ("map", "two processes", "stream")
#: Where the script lies in a dataset folder.
SCRIPT = Path("loading") / "biomed_enriched.py"
#: datasets 3 runs scripts; 5 does not, so there the builder is imported.
RUNS_SCRIPTS = int(datasets.__version__.split(".")[0]) < 4


def by_card(folder: Path, name: str, cache: Path, mode: str) -> Mapping[str, Any]:
    """The splits of a config, by the YAML of the card."""
    more: dict[str, Any] = {"streaming": True} if mode == "stream" else {"num_proc": 2 if mode == "two processes" else None}
    return dict(datasets.load_dataset(str(folder), name, cache_dir=str(cache / mode), **more))


def by_script(folder: Path, name: str, cache: Path, mode: str) -> Mapping[str, Any]:
    """The splits of a config, by the loading script that lies in the folder."""
    if RUNS_SCRIPTS:
        more: dict[str, Any] = (
            {"streaming": True} if mode == "stream" else {"num_proc": 2 if mode == "two processes" else None}
        )
        script, place = str(folder / SCRIPT), str(cache / mode)
        return dict(datasets.load_dataset(script, name, cache_dir=place, trust_remote_code=True, **more))
    sys.path.insert(0, str((folder / SCRIPT).parent))
    from biomed_enriched import BiomedEnriched  # type: ignore[import-not-found]

    return load(BiomedEnriched(cache_dir=str(cache / mode), config_name=name), mode)


def load(builder: Any, mode: str) -> Mapping[str, Any]:
    """The splits that a builder gives."""
    if mode == "stream":
        return dict(builder.as_streaming_dataset())
    builder.download_and_prepare(num_proc=2 if mode == "two processes" else None)
    return dict(builder.as_dataset())


def digests(splits: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Of each split the features, the rows in their order, and the rows as a multiset."""
    found = {}
    for split, dataset in splits.items():
        rows = [json.dumps(row, sort_keys=True) for row in dataset]
        found[split] = {
            "features": repr(dataset.features),
            "rows": len(rows),
            "in order": hashlib.sha256("\n".join(rows).encode()).hexdigest(),
            "in any order": hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest(),
        }
    return found


def main(folder: Path, cache: Path) -> dict[str, Any]:
    """Digests of everything: config -> "card" or "script" -> mode -> split."""
    datasets.disable_progress_bars()
    names = datasets.get_dataset_config_names(str(folder))
    ways = {"card": by_card, "script": by_script}
    return {
        name: {
            way: {mode: digests(loaded(folder, name, cache / way, mode)) for mode in MODES} for way, loaded in ways.items()
        }
        for name in names
    }


if __name__ == "__main__":
    print(json.dumps({"version": datasets.__version__, "configs": main(Path(sys.argv[1]).absolute(), Path(sys.argv[2]))}))

"""A loading script for ``datasets``, which stands alone: ``biomed_enriched.py`` needs nothing of this repository."""

from pathlib import Path

#: Copied into every dataset folder as ``loading/biomed_enriched.py``. At the root of a repository of that name it would
#: keep every config from loading.
SCRIPT = Path(__file__).with_name("biomed_enriched.py")

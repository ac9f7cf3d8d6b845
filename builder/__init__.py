"""Build, label and publish the Biomed-Enriched dataset.

Method: Touchent and de la Clergerie, *Biomed-Enriched*, https://arxiv.org/abs/2506.20331.
The command line lives in :mod:`pipelines.cli`; each stage of the build is a file in ``pipelines/``.
"""

import os
from importlib.metadata import PackageNotFoundError, version

# loguru prints the values of variables below a traceback unless this is set before it is imported: keys and texts of
# articles would end up in logs
os.environ.setdefault("LOGURU_DIAGNOSE", "NO")

try:
    __version__ = version("biomed-enriched-builder")
except PackageNotFoundError:  # imported from a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]

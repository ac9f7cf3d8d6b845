"""The command line of ``biomed-builder`` as the tests run it, and where its files are.

A script that a test starts may import this without pytest's fixtures: nothing here comes from another module of the tests.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
#: Real data that lies beside the checkout on some machines; tests that need it skip without it.
SHARED = ROOT.parent / "shared"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def builder_command(*arguments: object) -> list[str]:
    """The command line of ``biomed-builder`` in this environment."""
    return [sys.executable, "-m", "pipelines.cli", *map(str, arguments)]


def run_builder(*arguments: object, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Run ``biomed-builder`` to its end."""
    return subprocess.run(
        builder_command(*arguments), capture_output=True, text=True, check=False, cwd=kwargs.pop("cwd", ROOT), **kwargs
    )


@dataclass(frozen=True)
class Built:
    """A finished build of the made-up corpus."""

    source: Path
    work: Path
    output: Path
    report: dict[str, Any]

    def build_again(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return run_builder(
            "build", "--source", self.source, "--work", self.work, "--output", self.output, "--json", *arguments
        )

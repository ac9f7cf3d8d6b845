"""Python reads this as it starts where a test puts the folder on ``PYTHONPATH``: a stage then stays in its middle.

So many records as ``HELD_PASSES`` says are written in ``HELD_RECORDS``; who writes another one waits until the file
``HELD_UNTIL`` is there. A test can so kill a stage that would else be over sooner than a busy machine looks at it.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

_RECORDS, _UNTIL = Path(os.environ["HELD_RECORDS"]), Path(os.environ["HELD_UNTIL"])
_PASSES = int(os.environ["HELD_PASSES"])


def _hold(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "os.rename" or Path(os.fsdecode(arguments[1])).parent != _RECORDS:
        return
    for number in range(_PASSES):
        try:
            os.close(os.open(f"{_UNTIL}.{number}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        return
    end = time.monotonic() + 1800  # nobody may be left to say so
    while not _UNTIL.exists() and time.monotonic() < end:
        time.sleep(0.02)


sys.addaudithook(_hold)

"""Which engine computes: the device decides, and what the machine and the encoder allow."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from builder.errors import BuilderError
from builder.student.config import StudentConfig
from builder.student.engines.base import Engine, PoolingEngine
from builder.student.engines.compiling import NoCompilerError, NoFolderError, machine_flags
from builder.student.engines.exporting import NotForNativeError

#: What a user may ask for.
DEVICES = ("auto", "cpu", "cuda")


def open_engine(folder: Path, config: StudentConfig, device: str = "auto", threads: int = 1) -> Engine:
    """The fastest engine for the student in ``folder``; ``auto`` takes a GPU where there is one.

    Raises:
        StudentError: the student cannot be loaded.
        BuilderError: ``device`` is none of :data:`DEVICES`, or is ``cuda`` and there is no GPU.
    """
    if device not in DEVICES:
        raise BuilderError(
            f"there is no device {device!r}: give {', '.join(DEVICES)}; which GPU is taken, CUDA_VISIBLE_DEVICES says"
        )
    if device == "cuda" or (device == "auto" and _gpu_is_there()):
        return _cuda_engine(folder, config)
    return cpu_engine(folder, config, threads)


def cpu_engine(folder: Path, config: StudentConfig, threads: int = 1) -> PoolingEngine:
    """The native engine; torch for other encoders than BERT, on machines without the instructions that the engine uses, and
    with a warning where there is no compiler or folder.
    """
    from builder.student.engines.native import NativeEngine

    if machine_flags():  # without vector instructions torch is faster
        try:
            return NativeEngine.load(folder, config, threads)
        except NotForNativeError:
            pass
        except (NoCompilerError, NoFolderError) as error:
            _warn_once(f"{error}; until then torch computes, two to four times slower")
    from builder.student.engines.plain import PlainEngine
    from builder.student.network import load_student

    return PlainEngine(load_student(folder, config), threads)


@cache
def _warn_once(sentence: str) -> None:
    from loguru import logger

    logger.warning(sentence)


def _gpu_is_there() -> bool:
    """Asks torch only where a driver is, since importing it takes seconds."""
    if not Path("/dev/nvidiactl").exists():
        return False
    import torch

    return torch.cuda.is_available()


def _cuda_engine(folder: Path, config: StudentConfig) -> Engine:
    if not _gpu_is_there():
        raise BuilderError("--device cuda: there is no GPU that torch can use; give --device cpu or auto")
    from builder.student.engines.cuda import CudaEngine
    from builder.student.network import load_student

    return CudaEngine(load_student(folder, config))

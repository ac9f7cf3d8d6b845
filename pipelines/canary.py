"""Planted orders put to a language model or to a student: how often do they win?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from builder.annotation.canary import CANARIES, Canary, Reply, ask_server, ask_student, judge, load_canaries
from builder.atomic import write_json
from builder.folders import output_errors
from builder.stage import Progress
from builder.steps.ask import Teacher
from builder.student.config import SHIPPED_STUDENT, student_digest

#: What ``--output`` gets.
JSON: Final = "canary.json"


@dataclass(frozen=True, slots=True)
class CanarySettings:
    """Who is measured: the language model of ``teacher``, else ``student``."""

    teacher: Teacher | None = None
    student: Path = SHIPPED_STUDENT
    canaries: Path = CANARIES
    output: Path | None = None


def measure(settings: CanarySettings, progress: Progress) -> dict[str, Any]:
    """The report of :func:`builder.annotation.canary.judge` with ``judge``: who was measured, and how it was asked.

    Also written to ``output`` if that is given.

    Raises:
        BuilderError: the canaries, the server or the student cannot be used, or the output cannot be written.
    """
    canaries = load_canaries(settings.canaries)
    teacher = settings.teacher
    with progress.stage("canary", len(canaries)) as tell:
        who, replies = _model(canaries, teacher, tell) if teacher else _student(canaries, settings.student)
    report = {"judge": who, **judge(canaries, replies)}
    if settings.output is not None:
        with output_errors(settings.output):
            settings.output.mkdir(parents=True, exist_ok=True)
            write_json(settings.output / JSON, report)
    return report


def _model(canaries: list[Canary], teacher: Teacher, tell: Callable[[int], None]) -> tuple[dict[str, Any], list[Reply]]:
    prompt = teacher.load_prompt()

    async def ask() -> tuple[dict[str, Any], list[Reply]]:
        [(server, facts), *others] = await teacher.connect_all()
        for other, _ in others:
            await other.close()
        try:
            replies = await ask_server(canaries, server, facts, prompt, teacher.ask, tell)
        finally:
            await server.close()
        who = {
            "name": facts.model,
            "server": facts.server,
            "revision": facts.revision or teacher.revision,
            "constraint": facts.constraint,
            "prompt_sha256": prompt.sha256,
            "with_reason": prompt.with_reason,
            "temperature": teacher.ask.temperature,
            "seed": teacher.ask.seed,
        }
        return who, replies

    return asyncio.run(ask())


def _student(canaries: list[Canary], folder: Path) -> tuple[dict[str, Any], list[Reply]]:
    # here, so that measuring a language model does not wait for torch
    from builder.student.predictor import Predictor

    replies = ask_student(canaries, Predictor.load(folder, threads=1))
    return {"name": f"student {folder.name}", "student_sha256": student_digest(folder)}, replies

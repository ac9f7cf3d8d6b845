"""What a person sees of a sync and of its plan."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from builder.sources.pmc import SyncReport
from builder.sources.pmc.plan import SyncPlan


def show_sync(report: SyncReport, mirror: Path, as_json: bool) -> None:
    """What a sync fetched, what it left out and why, and what left."""
    if as_json:
        print(json.dumps(asdict(report)))
        return
    console = Console(width=None if sys.stdout.isatty() else 120)
    rate = report.xml_bytes / max(report.seconds, 1e-9) / 1e6
    console.print(
        f"Listing {report.listing} of {report.listed_on}: {report.listed:,} articles. Fetched {report.metadata_fetched:,} "
        f"metadata files and {report.xml_fetched:,} articles, {report.xml_bytes / 1e6:,.1f} MB, in {report.seconds:,.1f} s "
        f"({rate:,.1f} MB/s); {report.unchanged:,} unchanged.",
        highlight=False,
        soft_wrap=True,
    )
    for reason, number in sorted(report.not_taken.items()):
        console.print(f"Not taken: {number:,} {reason}", highlight=False)
    for reason, number in sorted(report.tombstones.items()):
        console.print(f"Left since the last sync: {number:,} {reason}", highlight=False)
    console.print(
        f"Held: {report.held:,} articles, {report.held_bytes / 1e6:,.1f} MB, in {mirror}", highlight=False, soft_wrap=True
    )


def show_plan(plan: SyncPlan, concurrency: int, as_json: bool) -> None:
    """What a sync would cost."""
    figures = asdict(plan) | {
        "requests": plan.requests,
        "bytes": plan.bytes,
        "concurrency": concurrency,
        "hours": plan.hours(concurrency),
    }
    if as_json:
        print(json.dumps(figures))
        return
    console = Console(width=None if sys.stdout.isatty() else 120)
    for line in (
        f"Listing {plan.listing}: {plan.listed:,} articles, {plan.to_look_at:,} of them new, changed or not yet fetched.",
        f"Of {plan.sampled} drawn at random, {plan.wanted_share:.0%} are wanted, with {plan.mean_xml_bytes / 1e3:,.0f} kB "
        f"of XML on average; metadata took {plan.seconds_metadata * 1e3:,.0f} ms, XML {plan.seconds_xml * 1e3:,.0f} ms a "
        f"request.",
        f"So about {plan.requests:,} requests and {plan.bytes / 1e9:,.2f} GB: {plan.hours(concurrency):,.2f} hours at "
        f"{concurrency} requests at once, if the network keeps up.",
    ):
        console.print(line, highlight=False, soft_wrap=True)

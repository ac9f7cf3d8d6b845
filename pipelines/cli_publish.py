"""``biomed-builder publish``: a folder to the Hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True))
@click.option(
    "--repo", "repository", required=True, metavar="ORG/NAME", help="Repository on the Hub; made if it is not there."
)
@click.option("--private", is_flag=True, help="Make the repository private; one that is there must be.")
@click.option(
    "--revision", "branch", default="", metavar="BRANCH", help="Branch, made from main if it is not there. [default: main]"
)
@click.option("--create-pr", is_flag=True, help="Propose the change as a pull request; needs no right to write there.")
@click.option(
    "--tag", default=None, help="Name of the tag. [default: vYYYY.MM.DD, then vYYYY.MM.DD.2 …; none for another branch]"
)
@click.option("--message", default="", help="Title of the commit. [default: Publish the dataset …]")
@click.option("--dry-run", is_flag=True, help="Check everything and say what would change; needs no right to write.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, for machines.")
def publish(
    folder: Path,
    repository: str,
    private: bool,
    branch: str,
    create_pr: bool,
    tag: str | None,
    message: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Publish FOLDER on the Hugging Face Hub: a dataset, annotations, a student, or a Space.

    Everything is checked first: no text of a noncommercial article leaves. Then files are sent, one commit makes them
    visible together, each is compared with the hash that the Hub lists for it, those that must have no text are fetched
    back, and a dated tag names the commit. A file that is there is not sent again; a run that was stopped goes on. Files of
    earlier publications that are no more are deleted, those of other people stay.

    The token is that of `hf auth login` or HF_TOKEN.

    \b
    Examples:
      biomed-builder publish biomed-enriched --repo ORG/biomed-enriched --dry-run
      biomed-builder publish biomed-enriched --repo ORG/biomed-enriched
      biomed-builder publish work/annotations --repo ORG/biomed-labels --private
    """
    from pipelines.display import make_progress
    from pipelines.publish import publish as pipeline

    report = pipeline(
        folder,
        repository,
        make_progress(),
        branch=branch,
        private=private,
        create_pr=create_pr,
        tag=tag,
        message=message,
        dry_run=dry_run,
    )
    if as_json:
        click.echo(json.dumps(report))
    else:
        for line in said(report):
            click.echo(line)


def said(report: dict[str, Any]) -> list[str]:
    """The report in sentences."""
    sent, unchanged, planned = report["sent"], report["unchanged"], report["dry_run"]
    state = "private" if report["private"] else "public"
    if not report["existed"]:
        state = f"{'not there, or closed to you; would be made' if planned else 'made now'}, {state}"
    lines = [f"{report['kind']} -> {report['url']} ({state}), branch {report['branch']}"]
    if not sent["files"] and not report["deleted"]:
        lines.append(f"Nothing has changed: all {unchanged['files']:,} files are there, so there is nothing to commit.")
    else:
        verb = "Would send" if planned else "Sent"
        lines.append(
            f"{verb} {sent['files']:,} files of {_size(sent['bytes'])}; {unchanged['files']:,} files of "
            f"{_size(unchanged['bytes'])} are there already."
        )
    if report["deleted"]:
        lines.append(f"{'Would delete' if planned else 'Deleted'} {', '.join(report['deleted'])}.")
    if report["kept"]:
        lines.append(f"{report['kept']:,} files that others put there stay as they are.")
    if report["left_here"]:
        lines.append(f"Not published: {', '.join(report['left_here'])}.")
    return lines if planned else lines + _done(report)


def _done(report: dict[str, Any]) -> list[str]:
    where = f"pull request {report['pull_request']}" if report["pull_request"] else f"commit {report['commit'][:12]}"
    tag = f", tag {report['tag']}" if report["tag"] else ""
    lines = [f"All {report['verified']:,} files are in {where}{tag}, by the hashes that the Hub lists."]
    if report["read_back"]:
        lines.append(f"{report['read_back']:,} files that must have no text were fetched back, and have the bytes sent.")
    return lines


def _size(number: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.4g} TB"

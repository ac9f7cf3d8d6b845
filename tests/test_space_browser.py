"""The page in a real browser, as people use it: by mouse and by keyboard, wide and narrow, light and dark."""

from __future__ import annotations

import csv
import json
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
pytest.importorskip("gradio_client", reason="the Space's libraries are not installed")
if (CHROMIUM := shutil.which("chromium") or shutil.which("chromium-browser")) is None:
    pytest.skip("needs Debian's chromium: apt-get install chromium", allow_module_level=True)

import pyarrow as pa
import pyarrow.parquet as pq
from playwright.sync_api import Browser, Page, sync_playwright

from tests.running import Built
from tests.space_page import here, served

pytestmark = pytest.mark.slow

SCRIPT = '<script>window.hacked=1</script><img src=x onerror="window.hacked=1"> ${window.hacked=1} {{hacked}}'
SIZES = {"wide": (1280, 900), "narrow": (390, 844)}
TABS = ("Classify", "Browse", "Understand", "Mix")
#: What a busy machine may take to answer (milliseconds).
PATIENCE = 180_000
#: Whether nothing moves any more, but for what never ends.
FADED = """document.getAnimations().every(
    one => one.playState !== 'running' || one.effect?.getComputedTiming().endTime === Infinity)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as run:
        found = run.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def hostile(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset, with markup in every text and title."""
    folder = Path(shutil.copytree(built.output, tmp_path_factory.mktemp("hostile") / "dataset"))
    for file in (folder / "data").iterdir():
        table = pq.read_table(file)
        for name in ("text", "article_title", "journal", "section_title"):
            if name in table.column_names:
                place = table.column_names.index(name)
                written = [None if value is None else f"{SCRIPT} {value}" for value in table[name].to_pylist()]
                table = table.set_column(place, name, pa.array(written, pa.string()))
        pq.write_table(table, file)
    return folder


@pytest.fixture(scope="module")
def address(hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("page"), here(hostile)) as found:
        yield found.address


@pytest.fixture(params=[("wide", "light"), ("narrow", "dark")], ids=["wide-light", "narrow-dark"])
def page(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """An open page; afterwards it has neither errors nor requests to other hosts, and nothing was run from the data."""
    size, scheme = request.param
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True)
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address.rstrip("/"))
    found = context.new_page()
    found.set_default_timeout(PATIENCE)
    wrong: list[str] = []
    found.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    found.on("pageerror", lambda error: wrong.append(str(error)))
    own = (address.rstrip("/"), "data:", "blob:")
    found.on("request", lambda asked: None if asked.url.startswith(own) else wrong.append(f"asked for {asked.url}"))
    found.goto(address)
    found.get_by_role("tab", name="Classify").wait_for()
    yield found
    assert found.evaluate("window.hacked") is None
    assert found.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert wrong == []
    context.close()


def _open(page: Page, tab: str) -> None:
    page.get_by_role("tab", name=tab).click()


def _shot(page: Page, name: str) -> None:
    """For people to look at, where they ask for it by ``BIOMED_SHOTS``."""
    import os

    if folder := os.environ.get("BIOMED_SHOTS"):
        width = page.viewport_size["width"] if page.viewport_size else 0
        page.screenshot(path=Path(folder) / f"{name}-{width}.png", full_page=True)


def test_an_example_is_classified_and_explained(page: Page) -> None:
    page.get_by_role("button", name="Example: clinical case").click()
    page.locator(".be-verdict", has_text="Clinical case, domain clinical").wait_for()
    assert "not medical advice" in page.locator("#be-labels").inner_text()
    page.locator(".be-why", has_text="What carried the document type Clinical case?").wait_for()
    page.get_by_role("radio", name="Words").check()
    page.wait_for_function("document.querySelectorAll('.be-why .be-part').length > 40")
    page.get_by_role("radio", name="Educational score").check()
    page.locator(".be-why", has_text="without it the score would be").wait_for()
    _shot(page, "classify")


def test_many_paragraphs_are_sorted_and_taken_away(page: Page, tmp_path: Path) -> None:
    texts = [f"{SCRIPT} A patient of {age} years presented with fever." for age in (31, 42, 53)]
    page.get_by_label("Text", exact=True).fill("\n\n".join(texts))
    page.get_by_role("button", name="Classify", exact=True).click()
    page.locator("#be-table").get_by_text("years presented").locator("visible=true").first.wait_for()
    with page.expect_download() as offered:
        page.get_by_role("button", name="Download JSON Lines").click()
    offered.value.save_as(tmp_path / "a.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [one["text"] for one in lines] == texts
    with page.expect_download() as offered:
        page.get_by_role("button", name="Download CSV").click()
    offered.value.save_as(tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as file:
        assert [row["text"] for row in csv.DictReader(file)] == texts
    page.get_by_label("Order of the table").locator("visible=true").click()
    page.get_by_role("option", name="Highest score first", exact=True).click()
    cells = page.locator("#be-table").get_by_role("gridcell").locator("visible=true")
    highest = max(lines, key=lambda one: one["educational_score"])
    place = str(1 + lines.index(highest))
    page.wait_for_function(
        "place => [...document.querySelectorAll('#be-table [role=gridcell]')]"
        ".find(cell => cell.offsetParent)?.innerText.trim() === place",
        arg=place,
    )
    cells.get_by_text("3", exact=True).first.click()
    page.locator(".be-verdict", has_text="Paragraph 3 of 3").wait_for()
    _shot(page, "table")


def test_too_long_a_text_is_refused_where_it_is_seen(page: Page) -> None:
    page.get_by_label("Text", exact=True).fill("word " * 50_000)
    page.get_by_role("button", name="Classify", exact=True).click()
    page.get_by_role("alert").get_by_text("this page takes 200,000 at a time").wait_for()


def test_a_file_is_classified_and_a_bomb_is_refused(page: Page, built: Built, tmp_path: Path) -> None:
    article = next(built.source.glob("*.xml"))
    page.locator("input[type=file]").set_input_files(article)
    page.get_by_text(article.name).first.wait_for()
    page.get_by_role("button", name="Classify", exact=True).click()
    page.locator(".be-verdict", has_text="Paragraph 1 of").wait_for()


def test_rows_are_searched_opened_and_paged(page: Page) -> None:
    _open(page, "Browse")
    first = page.locator("#be-results label").first
    first.wait_for()
    page.locator("#be-count", has_text="rows").wait_for()
    page.get_by_label("Words in the text").fill("streptococcus")
    page.get_by_role("button", name="Search").click()
    page.get_by_text("words = ['streptococcus']").wait_for()
    page.get_by_label("Clinical case", exact=True).locator("visible=true").check()
    page.get_by_text("'document_type', '==', 'Clinical case'").wait_for()
    page.locator("#be-results label", has_text="emergency department").first.click()
    page.locator(".be-row .be-text", has_text="Streptococcus pneumoniae").wait_for()
    assert "<script>" in page.locator(".be-row").inner_text()
    _shot(page, "browse")


def test_the_line_of_python_is_copied(page: Page) -> None:
    _open(page, "Browse")
    page.locator("#be-results label").first.wait_for()
    page.get_by_label("Config").locator("visible=true").click()
    page.get_by_role("option", name="clinical_cases", exact=True).click()
    page.get_by_text("'clinical_cases', split='commercial'").wait_for()
    page.get_by_role("button", name="Copy").locator("visible=true").first.click()
    page.wait_for_function(
        "async line => (await navigator.clipboard.readText()).includes(line)", arg="'clinical_cases', split='commercial'"
    )


def test_two_configs_stand_side_by_side(page: Page) -> None:
    _open(page, "Understand")
    page.locator("#be-plots", has_text="clinical_upsampled / commercial").wait_for()
    assert page.locator("#be-plots .be-bars").count() >= 5
    page.get_by_role("radio", name="noncommercial").locator("visible=true").check()
    page.locator("#be-plots", has_text="clinical_upsampled / noncommercial").wait_for()
    _shot(page, "understand")


def test_a_recipe_is_mixed_and_taken_away(page: Page) -> None:
    _open(page, "Mix")
    page.locator("#be-mix .be-plain").wait_for()
    slider = page.get_by_role("slider", name="Times: articles with a clinical case")
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.get_by_text("factor = 5").wait_for()
    page.get_by_label("Name of the recipe").fill("Not A Name")
    page.get_by_role("alert").get_by_text("A recipe's name is").wait_for()
    page.get_by_label("Name of the recipe").fill("five_times")
    page.get_by_text('name = "five_times"').wait_for()
    with page.expect_download() as offered:
        page.get_by_role("button", name="Download TOML").click()
    assert offered.value.suggested_filename == "five_times.toml"
    values = tomllib.loads(Path(offered.value.path()).read_text())
    assert values["upsample_articles"][0]["factor"] == 5
    _shot(page, "mix")


def test_everything_is_reached_by_keyboard(page: Page) -> None:
    page.get_by_role("tab", name="Classify").focus()
    page.keyboard.press("Tab")
    for _ in range(12):
        if page.evaluate("document.activeElement.textContent").strip() == "Example: review":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator(".be-verdict", has_text="Review").wait_for()
    page.get_by_role("tab", name="Browse").focus()
    page.keyboard.press("Enter")
    page.locator("#be-results input").first.focus()
    page.keyboard.press("Space")
    page.locator(".be-row").wait_for()
    opened = page.locator(".be-row").inner_text()
    page.locator("#be-results input").first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.wait_for_function("text => document.querySelector('.be-row')?.innerText !== text", arg=opened)


@pytest.mark.parametrize("tab", TABS)
def test_axe_finds_nothing_serious(page: Page, tab: str) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="needs axe: pip install axe-playwright-python"
    )
    _open(page, tab)
    if tab == "Classify":
        page.get_by_role("button", name="Example: clinical case").click()
        page.locator(".be-why ol").wait_for()
    elif tab == "Browse":
        page.locator("#be-results label").first.click()
        page.locator(".be-row").wait_for()
    else:
        page.locator("#be-plots .be-columns" if tab == "Understand" else "#be-mix .be-bars").first.wait_for()
    page.wait_for_timeout(500)  # colours fade in, however long that takes on a busy machine
    page.wait_for_function(FADED)
    found: list[dict[str, Any]] = axe.Axe().run(page).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in serious] == []


def test_without_data_the_page_says_what_to_run(browser: Browser, tmp_path: Path) -> None:
    with served(tmp_path, {"BIOMED_DATASET": "", "BIOMED_STUDENT": ""}) as without:
        found = browser.new_page()
        found.set_default_timeout(PATIENCE)
        found.goto(without.address)
        found.get_by_role("button", name="Example: review").click()
        found.get_by_role("alert").get_by_text("There is no student here. Run `make space`").wait_for()
        for tab in TABS[1:]:
            _open(found, tab)
            found.get_by_role("alert").get_by_text("There is no dataset here. Run `make build`").locator(
                "visible=true"
            ).wait_for()
        found.close()

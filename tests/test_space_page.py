"""The page as a process: it starts with and without data, classifies for programs and for many at once, and is bounded."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio_client", reason="the Space's libraries are not installed")

import gradio_client
from enriched import limits
from enriched.examples import EXAMPLES

from tests.running import Built
from tests.space_page import Served, Visitor, here, served

VISITORS = 30


@pytest.fixture(scope="module")
def page(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("page"), here(built.output)) as found:
        yield found


@pytest.fixture(scope="module")
def client(page: Served) -> Any:
    return gradio_client.Client(page.address, verbose=False, httpx_kwargs={"timeout": 280})


def test_the_endpoint_labels_each_paragraph(client: Any) -> None:
    texts = [one.text for one in EXAMPLES.values()]
    found = client.predict(texts, "", api_name="/classify")
    assert [one["text"] for one in found] == texts
    assert found[0]["document_type"] == "Clinical case"
    assert sum(found[0]["domain_scores"].values()) == pytest.approx(1, abs=1e-3)
    assert client.predict([texts[0]], "Case presentation", api_name="/classify")[0]["section_path"] == ["Case presentation"]


def test_the_endpoint_is_the_only_one_and_is_described(client: Any) -> None:
    described = client.view_api(return_format="dict")
    assert list(described["named_endpoints"]) == ["/classify"]
    assert not described["unnamed_endpoints"]


@pytest.mark.parametrize(
    ("paragraphs", "said"),
    [
        ([], "no paragraph"),
        (["a" * (limits.PARAGRAPH_CHARACTERS + 1)], "20,001 characters"),
        (["a"] * (limits.PARAGRAPHS + 1), "501 paragraphs"),
        (["a" * 9_000] * 23, "bytes; this page takes 200,000"),
        (["a", " "], "is empty"),
        ([1, 2], "list of texts"),
        ("text", "list of texts"),
    ],
)
def test_the_endpoint_refuses_in_a_sentence(client: Any, paragraphs: object, said: str) -> None:
    with pytest.raises(gradio_client.exceptions.AppError, match=said):
        client.predict(paragraphs, "", api_name="/classify")


@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/queue/join"])
def test_a_large_request_is_refused_at_the_door(page: Served, path: str) -> None:
    request = urllib.request.Request(page.address.rstrip("/") + path, data=b"x" * 100, method="POST")
    request.add_unredirected_header("Content-Length", str(50_000_000))
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=120)
    assert refused.value.code == 413
    assert "at most" in json.loads(refused.value.read())["detail"]


def test_files_of_the_machine_are_not_served(page: Served) -> None:
    for path in ("/gradio_api/file=/etc/hostname", "/gradio_api/file=../../README.md", "/file=/etc/hostname"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(page.address.rstrip("/") + path, timeout=120)
        assert refused.value.code in (403, 404)


def test_the_page_starts_without_long_work(page: Served) -> None:
    wall, processor = page.seconds
    print(f"answered after {wall:.1f} s, of which {processor:.1f} s of the processor")
    assert processor < 30  # 7 to 8 on an idle machine; a test cannot ask for one


@pytest.mark.slow
def test_thirty_visitors_at_once_get_their_own_answers(page: Served) -> None:
    examples = list(EXAMPLES.values())
    texts = [f"Visitor {number}. {examples[number % len(examples)].text}" for number in range(VISITORS)]
    page.classify(texts[0])  # opens the student
    before = page.processor_seconds()

    def ask(text: str) -> tuple[str, float]:
        begun = time.monotonic()
        return page.classify(text)["text"], time.monotonic() - begun

    with ThreadPoolExecutor(VISITORS) as pool:
        answers = list(pool.map(ask, texts))
    assert [found for found, _ in answers] == texts
    used = page.processor_seconds() - before
    seconds = sorted(took for _, took in answers)
    print(f"p95 {seconds[int(0.95 * VISITORS)]:.2f} s, {used:.2f} s of the processor")
    assert used < 30  # 3 to 4 s on an idle machine, so that on two cores the last answer comes before 3 s


@pytest.mark.slow
def test_thirty_visitors_at_once_each_turn_the_pages_of_their_own_search(page: Served) -> None:
    config = page.config()
    asked = [[], [], 1, 5, [], [], [], "any", "any", "As in the dataset", 1]
    words = ["streptococcus", "kinase", "insulin"]

    def browse(number: int) -> list[str]:
        visitor, word = Visitor(page, config), words[number % len(words)]
        visitor.ask("start")  # what there is to choose from is each visitor's own too
        visitor.ask("search", "base", "commercial", word, *asked)
        shown = visitor.ask("later", None)
        visitor.ask("count", None)
        counted = visitor.ask("show_count", None, None)[0]
        return [word, str(shown[1]), shown[2], counted]

    with ThreadPoolExecutor(VISITORS) as pool:
        found = list(pool.map(browse, range(VISITORS)))
    for number, (word, _, lines, _) in enumerate(found):
        assert f"words = ['{word}']" in lines
        assert found[number] == found[number % len(words)]
    assert len({one[3] for one in found[: len(words)]}) > 1


@pytest.mark.slow
@pytest.mark.parametrize("lacking", ["dataset", "student", "both"])
def test_without_a_dataset_or_a_student_the_page_starts_and_says_what_to_run(
    built: Built, tmp_path: Path, lacking: str
) -> None:
    variables = here(built.output)
    if lacking in ("dataset", "both"):
        variables["BIOMED_DATASET"] = ""
    if lacking in ("student", "both"):
        variables["BIOMED_STUDENT"] = ""
    with served(tmp_path, variables) as page:
        client = gradio_client.Client(page.address, verbose=False, httpx_kwargs={"timeout": 280})
        if lacking == "dataset":
            assert client.predict(["A man had a fever."], "", api_name="/classify")[0]["domain"]
        else:
            with pytest.raises(gradio_client.exceptions.AppError, match="Run `make space`"):
                client.predict(["A man had a fever."], "", api_name="/classify")

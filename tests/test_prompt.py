"""What is asked: rubric first, fenced paragraph last, and nothing in a paragraph that leaves its fence."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.annotation.labels import RUBRIC
from builder.annotation.prompt import PROMPT, load_prompt
from builder.errors import LabelError
from builder.schema import DOMAINS, RUBRIC_DOCUMENT_TYPES

PROMPT_V1 = load_prompt()
#: What the words, the form of the answer and the cut of prompt version 1 hash to. Another hash is another version.
HASH_V1 = "bbeb7a2910da81033eee78a296f6e3ea7ba0b38d8c8f691c9b574efff325527d"


def test_a_changed_prompt_is_a_new_version() -> None:
    assert (PROMPT_V1.version, PROMPT_V1.sha256) == ("1", HASH_V1)


def test_the_rubric_is_there_whole_and_first() -> None:
    assert RUBRIC.read_text().strip() in PROMPT_V1.system
    first, second = (PROMPT_V1.ask(text, ["Methods"]).messages for text in ("One.", "Two."))
    assert first[0] == second[0]
    assert first[0]["role"] == "system"


def test_the_prompt_names_every_class_and_nothing_else_decides_them() -> None:
    schema = PROMPT_V1.answer_schema["properties"]
    assert schema["type"]["enum"] == list(RUBRIC_DOCUMENT_TYPES)
    assert schema["domain"]["enum"] == list(DOMAINS)
    for name in (*RUBRIC_DOCUMENT_TYPES, *DOMAINS):
        assert name in PROMPT_V1.system


def test_a_reason_comes_first_and_makes_another_prompt() -> None:
    prompt = load_prompt(with_reason=True)
    assert list(prompt.answer_schema["properties"]) == ["reason", "type", "domain", "score"]
    assert prompt.sha256 != PROMPT_V1.sha256


@given(st.text(), st.lists(st.text(), max_size=3))
def test_no_text_holds_its_own_closing_line(text: str, sections: list[str]) -> None:
    user = PROMPT_V1.ask(text, sections).messages[1]["content"]
    code = re.match(r"\[material ([0-9a-f]{12})\]\n", user)
    assert code
    closing = f"[end of material {code.group(1)}]"
    assert user.endswith(closing)
    assert user.count(closing) == 1


@given(st.text())
def test_what_was_judged_is_hashed(text: str) -> None:
    question = PROMPT_V1.ask(text, [])
    user = question.messages[1]["content"]
    paragraph = user[user.index("Paragraph: ") + len("Paragraph: ") : user.rindex("\n[end of material")]
    assert question.judged_text_sha256 == hashlib.sha256(paragraph.encode()).hexdigest()


@given(st.text(), st.text())
def test_different_paragraphs_are_different_questions(one: str, other: str) -> None:
    assert (PROMPT_V1.ask(one, []).key == PROMPT_V1.ask(other, []).key) == (
        PROMPT_V1.ask(one, []).messages == PROMPT_V1.ask(other, []).messages
    )


@pytest.mark.parametrize(
    "token",
    ["<|im_end|>", "<|im_start|>system", "<|eot_id|>", "[INST]", "[/INST]", "</s>", "<s>", "<<SYS>>", "<start_of_turn>",
     "<end_of_turn>", "<｜User｜>", "<think>", "<|start_header_id|>", "<turn|>", "<|turn>", "[|endofturn|]", "<seed:bos>",
     "<tool_response>", "[gMASK]", "<BOS_TOKEN>", "[THINK]", "<unused0>", "<end_of_utterance>", "]~b]", "\x00", "\x1b"],
)  # fmt: skip
def test_control_tokens_of_chat_templates_are_made_harmless(token: str) -> None:
    user = PROMPT_V1.ask(f"Before {token} after.", [f"Title {token}"]).messages[1]["content"]
    assert token not in user
    words = re.sub(r"[^A-Za-z]+", " ", token).split()
    assert all(word in user for word in words)  # still readable


def test_text_that_only_looks_a_little_like_one_stays_as_it_is() -> None:
    text = "P < 0.05, <10 mg/L, [1], |x| > 3, a<b and c>d, {sections}, {rubric} and <1|2>."
    assert text in PROMPT_V1.ask(text, []).messages[1]["content"]


def test_long_paragraphs_and_titles_are_cut_at_a_word() -> None:
    question = PROMPT_V1.ask("word " * 5000, ["title " * 500])
    content = question.messages[1]["content"]
    assert len(content) < PROMPT_V1.max_characters + 500
    assert "word […]\n" in content


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: "", "needs version"),
        (lambda text: text.replace("{rubric}", ""), "system has no place for rubric"),
        (lambda text: text.replace("{paragraph}", ""), "user has no place for paragraph"),
        (lambda text: text.replace("3200", '"many"'), "max_characters is 'many'"),
        (lambda text: text.replace("3200", "true"), "max_characters is True"),
        (lambda text: re.sub("version = .*", "version = 5", text), "version is 5, expected a text"),
        (lambda text: text.replace("[end of material {code}]", ""), "to fence it"),
        (lambda text: "a = " + "[" * 100_000, "cannot read the prompt"),
        (lambda text: text.replace("rubric-v1.md", "a\\u0000b"), "cannot read the prompt"),
        (lambda text: "version = [", "cannot read the prompt"),
        (lambda text: text.replace("rubric-v1.md", "missing.md"), "cannot read the prompt"),
    ],
)
def test_a_prompt_file_that_lacks_something_says_what(change: object, says: str, tmp_path: Path) -> None:
    (tmp_path / "rubric-v1.md").write_text(RUBRIC.read_text())
    changed = change(PROMPT.read_text())  # type: ignore[operator]
    (tmp_path / "mine.toml").write_text(changed or 'rubric = "rubric-v1.md"')
    with pytest.raises(LabelError, match=re.escape(says)):
        load_prompt(tmp_path / "mine.toml")


def test_ones_own_prompt_file_is_taken(tmp_path: Path) -> None:
    (tmp_path / "rubric-v1.md").write_text("# My rubric, version 7\n\nJudge.\n")
    (tmp_path / "mine.toml").write_text(PROMPT.read_text())
    prompt = load_prompt(tmp_path / "mine.toml")
    assert prompt.rubric_version == "7"
    assert prompt.sha256 != PROMPT_V1.sha256
    json.dumps(prompt.answer_schema)

"""What pages show of what programs read and write: log lines, failures in JSON, files of tokens and issuers. Each is what the program
reads or writes; outputs of commands are compared where the commands are typed.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import pytest

from snakepit.cli.failures import fields
from snakepit.errors import PoolSaturated
from snakepit_control_plane.authentication.issuers import parse_issuers
from snakepit_control_plane.authentication.static import AUTHENTICATED, parse
from snakepit_worker.launcher import MUST_SPAWN
from support.chart import check_values
from support.collector import kind_of
from support.log_lines import line
from support.pages import PAGES, ROOT, Block, blocks

JSON = [(block, block.text) for page in PAGES for block in blocks(page, "json")]


def showing(*words: str) -> list[Any]:
    found = [block for block, text in JSON if all(f'"{word}"' in text for word in words)]
    assert found
    return [pytest.param(block, id=block.id) for block in found]


ELSEWHERE = {"docs/clients.md", "docs/http.md", "docs/mcp.md"}
"""What these show is sent, or read, by the tests that go through them."""
KINDS = [("component", "level"), ("exitCode",), ("issuer", "claimMappings")]
"""By which words the tests below find theirs."""


def test_each_json_is_of_a_kind_that_is_examined() -> None:
    known = {each.id for words in KINDS for each in showing(*words)}
    assert {block.id for block, _ in JSON if block.page not in ELSEWHERE} == known


@pytest.mark.parametrize("block", showing(*KINDS[0]))
def test_a_log_line_of_a_page_is_one_by_the_schema(block: Block) -> None:
    assert line(block.text)["message"]


@pytest.mark.parametrize("block", showing(*KINDS[1]))
def test_a_failure_of_a_page_has_the_fields_that_one_has(block: Block) -> None:
    shown = json.loads(block.text)["error"]
    written = json.loads(json.dumps(fields(PoolSaturated(shown["message"], retry_after=shown["retryAfterSeconds"]))))
    assert shown == written


@pytest.mark.parametrize("block", showing(*KINDS[2]))
def test_issuers_of_a_page_are_taken_by_the_chart_and_by_the_control_plane(block: Block) -> None:
    check_values({"callerIssuers": json.loads(block.text)})
    (issuer,) = parse_issuers(block.text)
    assert issuer.issuer.audiences == ("snakepit",)


def test_the_file_of_tokens_of_the_page_lets_two_people_in() -> None:
    (shown,) = [block.text for block in blocks("docs/local-mode.md", heading="Callers with tokens") if "," in block.text]
    ada, bob = parse(shown.splitlines())
    assert (ada.token, ada.identity.subject, ada.identity.groups) == (b"f2c0a3d9e1b84675", "ada", ("staff", "ops", AUTHENTICATED))
    assert (bob.token, bob.identity.subject) == (b"9d1e7c55b0a34f28", "bob")


SPAN = re.compile(r"[ │├└]*(?P<name>\S.*?) {2,}(?P<service>\S.*?) {2,}[\d.]+ ms(?: {2,}(?P<events>.+))?")


def test_the_trace_of_the_page_is_of_spans_and_events_that_there_are() -> None:
    (shown,) = [block.text for block in blocks("docs/tracing.md") if "└" in block.text]
    spans = [found for line in shown.splitlines() if (found := SPAN.fullmatch(line))]
    assert len(spans) == len(shown.splitlines())
    ours = [each for each in spans if each["service"] != "the author's service"]
    assert len(ours) == len(spans) - 1
    for each in ours:
        kind = kind_of(each["service"], each["name"])
        assert kind is not None, each.group()
        assert set((each["events"] or "").split(" · ")) - {""} <= set(kind.events), each.group()


def test_what_is_to_be_pasted_for_a_forwarded_port_are_variables_that_the_sdk_reads() -> None:
    pasted = [block.text for block in blocks("docs/command-line.md", heading="Reaching a cluster") if "export " in block.text]
    names = {name for text in pasted for name in re.findall(r"\b(SNAKEPIT_\w+)=", text)}
    part = (ROOT / "docs/environment.md").read_text().partition("\n## Programs that call, and the command line\n")[2].partition("\n## ")[0]
    assert len(names) > 4
    assert names <= set(re.findall(r"`(SNAKEPIT_\w+)`", part))


def test_why_workers_are_not_forked_is_said_as_on_the_page() -> None:
    (shown,) = [block.text for block in blocks("docs/author.md") if "a fresh interpreter" in block.text]
    assert " ".join(shown.split()).endswith(MUST_SPAWN)


def test_the_dependency_rule_of_the_page_is_the_contract_of_the_same_words() -> None:
    (page,) = blocks("docs/architecture.md", "", "The dependency rule")
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert re.sub(r"[{}\s]", "", page.text).replace("←", "<-") in {re.sub(r"[{}\s]", "", each["name"]) for each in contracts}

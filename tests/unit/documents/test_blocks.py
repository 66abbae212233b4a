"""Each piece of code in README and docs is known to somebody who runs or reads it: a language or a program that nobody knows fails here.

What is only read here is run elsewhere: README, docs/start, docs/tutorial and docs/clients.md by tests/integration/newcomer and
tests/e2e/test_readme.py,
docs/operations.md by tests/e2e/test_operations.py and test_failover.py, the page for callers by tests/integration/local, docs/http.md and
docs/mcp.md by tests/integration/gateway, docs/releasing.md by tests/release, Python and pools by the tests beside this one. `kind` and
`docker push` are run nowhere.
"""

from __future__ import annotations

import itertools
import json
import re
import shlex
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from markdown_it import MarkdownIt

from snakepit.cli.app import make_app
from support.pages import PAGES, ROOT, Block, blocks

RUN = {"README.md", "docs/clients.md", "docs/caller.md", "docs/http.md", "docs/mcp.md", "docs/releasing.md"}
RUN |= {str(page.relative_to(ROOT)) for folder in ("start", "tutorial") for page in (ROOT / "docs" / folder).glob("*.md")}
"""Pages whose commands of other programs are run."""
AT_ONCE = ("--version", "--install-completion", "--show-completion")
"""To parse these is to do them."""
OF_THE_SHELL = {"cd", "mkdir", "export", ".", "for", "done", "do", "sed", "{", "}"}
VERBS = {"annotate", "apply", "auth", "create", "delete", "describe", "drain", "exec", "get", "port-forward", "rollout", "scale", "wait"}
VERBS |= {"label", "logs", "uncordon"}
ALL = [block for page in PAGES for block in blocks(page)]


def of(*languages: str) -> list[Any]:
    return [pytest.param(block, id=block.id) for block in ALL if block.language in languages]


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command, without assignments before it and what `$(…)` stands for."""
    joined = re.sub(r"\$\([^()]*\)", "X", text.replace("\\\n", " "))
    for line in joined.splitlines():
        words = shlex.split(re.sub(r" [12]?> \S+", "", line), comments=True)
        command: list[str] = []
        for word in [*words, ";"]:
            ends = word in ("&&", "||", ";", "&", "|") or word.endswith(";")
            if word not in ("&&", "||", ";", "&", "|"):
                command.append(word.rstrip(";"))
            if ends:
                while command and (re.match(r"[A-Z_]+=", command[0]) or command[0] == "do"):
                    command = command[1:]
                if command:
                    yield command
                command = []


def test_every_block_is_in_a_language_that_is_checked() -> None:
    assert {block.language for block in ALL} <= {"", "sh", "python", "yaml", "json", "toml", "dockerfile", "go", "js", "mermaid"}
    assert {block.page for block in ALL if block.language in ("go", "js")} <= RUN


SHOWN = {"", "python", "json", "toml"}
"""What compiles, or is JSON, may still be wrong: somebody runs it, or compares it with what a program reads or prints."""
USAGE = re.compile(r"snakepit [^\n]*\[OPTION\.\.\.\]\n")
"""`make docs` writes these, out of the commands."""
DAY, TOKENS = "tests/integration/monitoring/test_a_day.py", "tests/integration/local/test_tokens.py"
HERE = "tests/unit/documents/test_blocks.py"
PROGRAMS, WORDS = "tests/integration/local/test_python_of_the_pages.py", "tests/unit/documents/test_shown.py"
EXAMINED = {
    ("docs/alerts.md", "Before you begin"): [HERE],
    ("docs/alerts.md", "SnakepitControlPlaneSaturated"): [DAY, DAY, DAY],
    ("docs/alerts.md", "SnakepitErrorBudgetBurnsSlowly"): [DAY],
    ("docs/alerts.md", "SnakepitGatewayErrors"): [DAY],
    ("docs/architecture.md", "The dependency rule"): [WORDS],
    ("docs/author.md", "An adapter"): ["tests/integration/local/test_documents.py"],
    ("docs/author.md", "How a worker starts"): [WORDS],
    ("docs/author.md", "Tools that call tools"): ["tests/unit/documents/test_examples.py"],
    ("docs/author.md", "What you print"): [WORDS],
    ("docs/autoscaling.md", "The formula, in words"): ["tests/unit/operator/test_autoscale.py"],
    ("docs/command-line.md", "Completion"): [HERE],
    ("docs/command-line.md", "Configuration"): ["tests/unit/cli/test_config.py"],
    ("docs/command-line.md", "Failures"): [WORDS],
    ("docs/command-line.md", "Live"): ["tests/unit/cli/test_top.py"],
    ("docs/command-line.md", "Reaching a cluster"): [HERE, HERE, WORDS],
    ("docs/how-to/large-data.md", "Arrays and tables travel as they are"): [PROGRAMS],
    ("docs/how-to/large-data.md", "Pass where it is"): [PROGRAMS],
    ("docs/how-to/web-service.md", "Call a pool from a web service"): ["tests/integration/local/test_web_service.py"],
    ("docs/libraries.md", "Asynchronous clients"): [PROGRAMS],
    ("docs/libraries.md", "torch and transformers"): ["tests/unit/documents/test_examples.py"],
    ("docs/local-mode.md", "A debugger"): ["tests/integration/local/test_debugging.py"],
    ("docs/local-mode.md", "Callers with tokens"): [WORDS],
    ("docs/logs.md", "Logs"): [WORDS],
    ("docs/logs.md", "Read them"): [HERE],
    ("docs/logs.md", "The last lines"): [PROGRAMS],
    ("docs/monitoring.md", "Queries of your own"): [DAY],
    ("docs/observe.md", "Calls"): [PROGRAMS],
    ("docs/operations.md", "Where Redis is"): ["tests/support/redis_server.py"],
    ("docs/payloads.md", "msgpack and pickle"): [PROGRAMS],
    ("docs/security.md", "From elsewhere"): [WORDS],
    ("docs/security.md", "Gateways"): [TOKENS],
    ("docs/slo.md", "In Prometheus"): ["tests/chart/test_slo_alerts.py"],
    ("docs/tracing.md", "What a trace looks like"): [WORDS],
    ("docs/troubleshooting.md", "Troubleshooting"): ["tests/integration/doctor/test_control_plane.py"],
    ("docs/typed-calls.md", "Typed calls"): ["tests/integration/clients/test_typed_calls.py"],
}
"""Who runs each, or compares it: those below a heading, one for each. `HERE` are commands of ours, which are only parsed."""


def test_somebody_examines_each_piece_that_a_page_shows() -> None:
    """Whoever writes one says here who does; that a page's other pieces are tried is nothing to a new one."""
    shown = [each for each in ALL if each.language in SHOWN and not each.excerpt and each.page not in RUN and not USAGE.match(each.text)]
    assert Counter((each.page, each.heading) for each in shown) == Counter({place: len(who) for place, who in EXAMINED.items()})


@pytest.mark.parametrize(("place", "who"), [(place, who) for place, each in EXAMINED.items() for who in each if who not in (HERE, WORDS)])
def test_who_examines_a_piece_names_its_page(place: tuple[str, str], who: str) -> None:
    page, text = place[0], (ROOT / who).read_text()
    assert f"/{Path(page).name}" in text or f'"{Path(page).name}"' in text


# ---- the shell


@pytest.fixture(scope="module")
def cli() -> Any:
    return typer.main.get_command(make_app())


def parse(group: Any, words: list[str]) -> None:
    """Raises a usage error. Runs nothing: what would be done at once, as for `--install-completion`, is only looked for."""
    if len(words) == 1 and words[0] in AT_ONCE:
        assert words[0] in {option for each in group.params for option in each.opts}
        return
    context = group.make_context("snakepit", list(words))
    while hasattr(context.command, "commands"):
        rest = [*context._protected_args, *context.args]  # noqa: SLF001  # Click's own groups look there, too.
        name, command, rest = context.command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("block", of("sh"))
def test_every_command_is_one_that_exists(block: Block, cli: Any) -> None:
    for program, *words in commands(block.text):
        if program == "snakepit":
            parse(cli, words)
        elif program in CHECKS:
            CHECKS[program](words)
        else:
            assert program in OF_THE_SHELL or block.page in RUN, f"{block.id}: nobody runs or reads {program}"


def kubectl(words: list[str]) -> None:
    verbs = [word for word in words if word in VERBS]
    assert verbs, words
    for word in words:
        kind, slash, name = word.partition("/")
        if slash and kind in ("deployment", "service", "statefulset"):
            assert name in {"snakepit", "snakepit-control-plane", "snakepit-operator", "snakepit-redis", "snakepit-gateway"}, word


def helm(words: list[str]) -> None:
    assert words[0] in ("history", "install", "rollback", "test", "uninstall", "upgrade")
    assert words[1] == "snakepit", "names in the pages begin with the release's"
    if words[0] in ("install", "upgrade"):
        pushed = re.match(r"oci://\$REGISTRY/(charts/snakepit)$", words[2])
        assert (ROOT / (pushed[1] if pushed else words[2]) / "Chart.yaml").exists()
    for option, value in itertools.pairwise(words):
        if option == "--set":
            assert is_a_value(value.partition("=")[0].split(".")), value


def is_a_value(path: list[str]) -> bool:
    """Of the chart."""
    found = whole = json.loads((ROOT / "charts/snakepit/values.schema.json").read_text())
    for part in path:
        found = found.get("properties", {}).get(part, {})
        if "$ref" in found:
            found = reduce(getitem, found["$ref"].split("/")[1:], whole)
    return bool(found)


def make(words: list[str]) -> None:
    targets = re.findall(r"^([a-z][a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(words) <= set(targets)


def docker(words: list[str]) -> None:
    if words[0] == "push":
        return
    assert words[0] == "build"
    options = dict(itertools.pairwise(words))
    text = (ROOT / options.get("-f", "Dockerfile")).read_text()
    stages = re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE)
    assert options.get("--target", "$image") in ("$image", *stages)


def image_targets(text: str) -> set[str]:
    return {name for names in re.findall(r"for image in ([\w -]+);", text) for name in names.split()}


def test_the_images_that_are_built_in_a_loop_are_targets_of_the_dockerfile() -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    for block in ALL:
        built = "docker build" in block.text
        assert image_targets(block.text) <= (stages if built else stages | {"worker"})


def pip(words: list[str]) -> None:
    assert words[0] == "install", "what it installs is checked in test_installing.py"


CHECKS: dict[str, Callable[[list[str]], None]] = {"kubectl": kubectl, "helm": helm, "make": make, "docker": docker, "pip": pip}


@pytest.mark.parametrize("block", of(""))
def test_every_command_of_ours_in_a_text_is_one_that_exists(block: Block, cli: Any) -> None:
    for line in block.text.splitlines():
        typed = re.match(r"(?:\$ )?(snakepit [^\[]*?)(?:  +\$.*)?$", line)
        if typed and not re.search(r"\b(POOL|OPTION)\b", line):
            for _, *words in commands(typed[1]):
                parse(cli, words)


SPANS = sorted({span for page in PAGES for span in re.findall(r"`(snakepit [a-z-][^`]*)`", page.read_text())})


def options(group: Any, words: list[str]) -> set[str]:
    """Those that may stand with that command. Raises KeyError where there is no such command."""
    known = {option for each in group.params for option in (*each.opts, *each.secondary_opts)}
    if not words or words[0].startswith("-") or not hasattr(group, "commands"):
        return known
    return known | options(group.commands[words[0]], words[1:])


@pytest.mark.parametrize("span", SPANS)
def test_a_command_in_a_sentence_is_one_that_exists_with_its_options(cli: Any, span: str) -> None:
    """The first of several that stand there; what it is told may be left out in a sentence."""
    _, *words = span.partition(" \\|")[0].split()
    own = [word for word in words if word not in ("--kube",)]
    assert {word for word in words if word.startswith("-")} <= options(cli, own) | set(AT_ONCE)


def test_there_are_no_blocks_that_look_like_code_and_have_no_fence() -> None:
    """Nobody would see them here."""
    for page in PAGES:
        for token in MarkdownIt("commonmark").parse(page.read_text()):
            assert token.type != "code_block", f"{page}: {token.content}"
            assert "<pre" not in token.content or token.type != "html_block", f"{page}: {token.content}"


# ---- the others


@pytest.mark.parametrize("block", of("json"))
def test_json_is_json(block: Block) -> None:
    documents = [block.text] if block.text.startswith("{\n") else block.text.splitlines()
    for each in documents:
        assert json.loads(each)


@pytest.mark.parametrize("block", of("toml"))
def test_toml_is_toml(block: Block) -> None:
    assert tomllib.loads(block.text)


@pytest.mark.parametrize("block", of("yaml"))
def test_yaml_is_yaml(block: Block) -> None:
    assert list(yaml.safe_load_all(block.text))


@pytest.mark.parametrize("block", of("dockerfile"))
def test_an_image_begins_with_the_worker_image_and_copies_what_the_page_shows(block: Block) -> None:
    first, *others = [line.split() for line in block.text.splitlines()]
    assert first == ["FROM", "snakepit/worker:dev"]
    assert {words[0] for words in others} <= {"COPY", "ENV", "RUN", "USER"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=b make test && helm list  # why", [["make", "test"], ["helm", "list"]]),
        ("for i in a b; do docker push $i; done", [["for", "i", "in", "a", "b"], ["docker", "push", "$i"], ["done"]]),
        ("kubectl get \\\n  pods &", [["kubectl", "get", "pods"]]),
    ],
)
def test_commands_are_found(text: str, expected: list[list[str]]) -> None:
    assert list(commands(text)) == expected


@pytest.mark.parametrize("line", ["snakepit cal x", "snakepit call", "snakepit pools --nothing", "snakepit session put a b"])
def test_a_command_that_does_not_exist_is_noticed(cli: Any, line: str) -> None:
    with pytest.raises(Exception, match=r"No such|namespace/name"):  # The second is what a missing POOL is explained with.
        parse(cli, line.split()[1:])


@pytest.mark.parametrize("line", ["helm install snakepit charts/nothing", "helm install snakepit charts/snakepit --set no.thing=1"])
def test_a_chart_or_value_that_does_not_exist_is_noticed(line: str) -> None:
    with pytest.raises(AssertionError):
        helm(line.split()[1:])


def test_pages_are_there() -> None:
    assert Path(ROOT / "README.md") in PAGES
    assert len(ALL) > 50

"""Write what is generated (`make docs`), then check all documents. `_generated` and `_rights` name what it is, in docs/ and the chart.

--check writes nothing.

It checks links and their anchors (of a .py, the name of a test in it), paths of the repository in `code`, `make` targets and SNAKEPIT_*
variables. Pages that sources name must be there, and nothing may be cited by the number that it has in a list. It checks that every
variable that is read stands in docs/environment.md, that each page has its place on the site, and the length of lines. It judges no
prose.
"""

from __future__ import annotations

import inspect
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import chart_readme
import chart_values
import conditions
import dashboards
import environment
import grpc_page
import http_page
import log_lines
import metrics
import nav
import pictures
import python_api
import references
import rights
import rooms
import traces
from markdown_it import MarkdownIt
from markdown_it.token import Token
from places import in_place

from snakepit.errors import BY_REASON, SnakepitError, Started, ToolError

ROOT = Path(__file__).resolve().parent.parent
ERRORS = ROOT / "docs/errors.md"
ERRORS_INTRO = """# Errors

Generated from `sdk/src/snakepit/errors.py` by `make docs`; don't edit.

Every failure of a call or a request is one of these.

| by | a failure is |
|---|---|
| Python | an exception of that class, with `.reason`, `.status`, `.started`, `.details`, `.retry_after` (seconds) and `.call_id` |
| plain gRPC | that status, with a `google.rpc.ErrorInfo` (domain `snakepit.dev`): the reason, the details, `started` in capitals |
| HTTP | that status, with [a problem](http.md#what-went-wrong), which has all of it, and `Retry-After` |

By plain gRPC a `google.rpc.RetryInfo` is beside it where waiting helps. There a message over 1,200 bytes ends with an
ellipsis, as it doesn't fit into gRPC's trailers.

## Reasons

"Started" says whether the tool may have run. Look at the error's own `started`: `no` is safe to try again, `maybe`
and `yes` are not, unless the tool can run twice. The column has what it can be:

* `no, or yes`: `no` where the call itself was refused. `yes` where its tool ran, asked for something through its
  context (`ctx.call_tool`, `ctx.state`) and let that one's failure through; or where its result was too large.
* `maybe, or yes`: the same, where the call itself was lost.
* `known`: each error carries its own answer, of the three.

The SDK has already [sent again](caller.md#what-the-sdk-sends-again) what it safely could. A tool's own
exception is a result, not a failure: plain gRPC gets it as `tool_error`.

A refusal that comes from a limit names the limit's setting in `details["limit"]`, and what it allows in the detail
that says of what: `bytes`, `calls`, `depth`, `keys`, `operations`, `sessions` or `tools`.

The column "fault" says [how a pool's objectives count it](slo.md#what-counts): what is the platform's fault is bad.

| reason | started | fault | meaning |
|---|---|---|---|
"""
ERRORS_NAMES = """
## Names and statuses

| Python | reason | gRPC | HTTP |
|---|---|---|---|
"""

PATH = re.compile(r"(?:sdk|agent|control-plane|operator|gateway|local|worker-image|proto|charts|crds|docs|examples|hack|tests)/[\w./*-]*")
TARGET = re.compile(r"\bmake ([a-z][a-z-]+)")
VARIABLE = re.compile(r"\bSNAKEPIT_[A-Z_]+[A-Z]\b")
OF_ANOTHER = "coming-from-elixir.md"
"""The page that names what another program reads; a test compares it with that program's names."""
SKIPPED = re.compile(r"^(https?|mailto)$")

PAGE = re.compile(r"(?<![\w/*.-])(?:[\w-]+/)*[\w-]+\.md(?:#[\w-]+)?")
NUMBERED = re.compile(
    r"\b[Bb]ehaviours? \d+|\b(?:[Dd]esign|[Ii]ssue)(?:'s)?[,:]? (?:§ ?|rule |#)?\d+|(?<!RFC \d{4} )§ ?\d+|\brule \d+ of\b"
)
CITING = ("*.py", "*.md", "*.yaml", "*.toml", "*.proto", "*.go", "*.mjs", "Makefile", "Dockerfile", "hack", ".ci", ":!tests/unit/documents")
"""Whatever people read; what the tests of this program write is wrong on purpose."""

LINE = 120

COMMAND_LINE = ROOT / "docs/command-line.md"


def errors_page() -> str:
    kinds: list[type[SnakepitError]] = [SnakepitError, *(kind for kind in BY_REASON.values() if kind is not SnakepitError), ToolError]
    return "".join([ERRORS_INTRO, *map(_row, kinds), ERRORS_NAMES, *map(_names, kinds)])


def _row(kind: type[SnakepitError]) -> str:
    meaning = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
    if kind is SnakepitError:
        meaning = "Something else went wrong; also the base class of all others."
    return f"| `{kind.reason}` | {_started(kind)} | {kind.fault} | {meaning} |\n"


def _names(kind: type[SnakepitError]) -> str:
    return f"| `{kind.__name__}` | {kind.reason} | {kind.status.name} | {kind.http} |\n"


def _started(kind: type[SnakepitError]) -> str:
    if kind.default_started is Started.UNKNOWN:
        return "known"
    itself = kind.default_started.name.lower()
    return f"{itself}, or yes" if kind.default_started is not Started.YES and kind.within_tools else itself


def _generated() -> list[tuple[Path, str]]:
    return [
        (ERRORS, errors_page()),
        (chart_readme.README, chart_readme.page()),
        (chart_values.SCHEMA, chart_values.schema_text(chart_values.VALUES.read_text())),
        (log_lines.SCHEMA, log_lines.schema_text()),
        (log_lines.PAGE, log_lines.page()),
        *dashboards.pages().items(),
        (ROOT / "docs/metrics.md", metrics.page()),
        (ROOT / "docs/rooms.md", rooms.page()),
        (ROOT / "docs/conditions.md", conditions.page()),
        (ROOT / "docs/grpc.md", grpc_page.page()),
        (ROOT / "docs/python-api.md", python_api.page()),
        *((ROOT / "docs" / name, text) for name, text in {**references.pages(), **pictures.pages()}.items()),
        (traces.PAGE, traces.page()),
        (environment.PAGE, environment.page()),
        (http_page.PAGE, http_page.page()),
        (http_page.MCP_PAGE, http_page.mcp_page()),
    ]


def _rights() -> list[tuple[Path, str]]:
    table = rights.table()
    return [] if table is None else [(ROOT / "docs/security.md", in_place("security.md", "what our own components may do", table))]


def documents() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split() if (ROOT / name).exists()]


def _flat(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _flat(token.children or [])


@cache
def _parsed(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(text)


@cache
def anchors(text: str) -> set[str]:
    """Of the headings, as GitHub makes them."""
    tokens = _parsed(text)
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _link_problem(document: Path, link: str) -> str | None:
    parts = urlsplit(link)
    if SKIPPED.match(parts.scheme):
        return None
    target = (document.parent / unquote(parts.path)).resolve() if parts.path else document
    if not target.exists():
        return f"the link {link} leads nowhere"
    if parts.fragment and target.suffix == ".py":
        tested = re.search(rf"^(?:async )?def {re.escape(parts.fragment)}\(", target.read_text(), re.MULTILINE)
        return None if tested else f"the link {link} names a test that is not there"
    if parts.fragment and parts.fragment not in anchors(target.read_text()):
        return f"the link {link} names a heading that is not there"
    return None


def _path_problem(code: str) -> str | None:
    if not PATH.fullmatch(code) or any(ROOT.glob(code.rstrip("/"))):
        return None
    return f"`{code}` is not in the repository"


def problems(document: Path, targets: set[str], variables: set[str]) -> Iterator[str]:
    text = document.read_text()
    for token in _flat(_parsed(text)):
        if token.type == "link_open":
            yield from filter(None, [_link_problem(document, str(token.attrs["href"]))])
        if token.type == "code_inline":
            yield from filter(None, [_path_problem(token.content)])
        if token.type in ("code_inline", "fence"):
            yield from (f"there is no `make {name}`" for name in TARGET.findall(token.content) if name not in targets)
    if document.name != OF_ANOTHER:
        yield from (f"nothing reads {name}" for name in sorted(set(VARIABLE.findall(text)) - variables))


def known_variables(*where: str) -> set[str]:
    sources = subprocess.run(
        ["git", "grep", "-hoE", "--untracked", VARIABLE.pattern.replace(r"\b", ""), "--", *(where or ("*.py", "Makefile", ":!tests"))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return set(sources.stdout.split())


def citations(name: str, text: str) -> Iterator[str]:
    """Pages that a file names and that aren't there, by a path from the root, from docs/ or from beside the file; and numbers of lists."""
    for cited in sorted(set(PAGE.findall(text))):
        page, _, anchor = cited.partition("#")
        found = next((path for path in (ROOT / page, ROOT / "docs" / page, (ROOT / name).parent / page) if path.exists()), None)
        if found is None:
            yield f"{cited} is not in the repository"
        elif anchor and anchor not in anchors(found.read_text()):
            yield f"{cited} names a heading that is not there"
    yield from (f"what is {cited!r}? Say it in words" for cited in NUMBERED.findall(text))


def _cited_wrongly() -> Iterator[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "--", *CITING], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.split():
        if (ROOT / name).is_file():
            yield from (f"{name}: {problem}" for problem in citations(name, (ROOT / name).read_text()))


def command_line_page() -> str:
    """The page of the command line, its commands made anew. They are read out of the whole program, which only this needs."""
    return str(runpy.run_path(str(ROOT / "hack/command_line.py"))["page"](COMMAND_LINE.read_text()))


def undocumented(page: str, variables: set[str]) -> list[str]:
    return [f"docs/environment.md: {name} is read and not told" for name in sorted(variables - set(VARIABLE.findall(page)))]


def long_lines(document: Path) -> Iterator[str]:
    """In prose; tables and code have the lengths that they need."""
    code = False
    for number, line in enumerate(document.read_text().splitlines(), 1):
        code ^= line.lstrip().startswith("```")
        if len(line) > LINE and not code and not line.startswith("|"):
            yield f"line {number} has {len(line)} characters, {LINE} are enough"


def stale() -> list[str]:
    """Pages that would be others if they were made now."""
    generated = [path for path, text in _generated() if not path.exists() or path.read_text() != text]
    return [f"{path.relative_to(ROOT)} is not up to date: run make docs" for path in generated]


def check() -> list[str]:
    """Every problem, one sentence each."""
    targets = set(re.findall(r"^([a-z][a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    variables = known_variables()
    found = [f"{d.relative_to(ROOT)}: {p}" for d in documents() for p in problems(d, targets, variables)]
    found += [f"{d.relative_to(ROOT)}: {p}" for d in documents() for p in long_lines(d)]
    found += _cited_wrongly()
    found += undocumented((ROOT / "docs/environment.md").read_text(), known_variables("*/src/*.py"))
    found += nav.check()
    found += stale()
    if COMMAND_LINE.read_text() != command_line_page():
        found.append("the commands in docs/command-line.md are not up to date: run make docs")
    return found


def main() -> None:
    if "--check" not in sys.argv:
        for made in (_generated, _rights):  # The rights are rendered by the values' schema.
            for path, text in made():
                path.write_text(text)
        COMMAND_LINE.write_text(command_line_page())
    if found := check():
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()

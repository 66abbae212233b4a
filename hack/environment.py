"""The tables of docs/environment.md, for hack/docs.py: what a program's settings say of their variables.

The docstring of a field names the variable that it is read from, `(SNAKEPIT_X)`. Where its default is no value of its own, it says what
stands in its place: `(SNAKEPIT_X, by default half of the memory limit)`. Fields that name none are made of others. What each program does
is compared with names and defaults by tests/unit/documents. Variables that no program's settings have, because libraries read them in
anybody's process, have a table here.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import msgspec
from places import DOCS, filled

from snakepit import _grpc_threads
from snakepit._ipc.control import THREADS_VARIABLE
from snakepit._wire import token, trust
from snakepit.client.client import DEFAULT_SERVER
from snakepit_agent.settings import Settings as Agent
from snakepit_control_plane.authentication.settings import Authentication
from snakepit_control_plane.model.quotas import Limits
from snakepit_control_plane.settings import Settings as ControlPlane
from snakepit_gateway.settings import Settings as Gateway
from snakepit_operator.pods import AgentImage
from snakepit_operator.settings import Settings as Operator
from snakepit_worker import debugging, forking, keeper, raised

PAGE = DOCS / "environment.md"
NONE = "\N{EN DASH}"
HEAD = "| variable | default | what |\n|---|---|---|\n"
PARTS: Mapping[str, tuple[type, ...]] = {
    "the control plane": (ControlPlane, Limits),
    "who may call": (Authentication,),
    "the gateway": (Gateway,),
    "the agent": (Agent,),
    "the operator": (Operator, AgentImage),
}
FORKED = {
    "JE_ARROW_MALLOC_CONF": "libarrow's allocator: without a thread of its own, so that what imports pandas or pyarrow can be forked",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "`torch.cuda.is_available()` looks without using CUDA, which a fork could not use any more",
}
Row = tuple[str, str, str]
"""Names with a space between, the default, and what it says."""
LIBRARIES: Mapping[str, tuple[Row, ...]] = {
    "who calls": (
        ("SNAKEPIT_SERVER", f"`{DEFAULT_SERVER}`", "the control plane: `host:port`, or `dns:///host:port` for all addresses of a name"),
        (
            "SNAKEPIT_TOKEN_FILE",
            f"`{token.MOUNTED}`, if it is there",
            "file with a service-account token: whose turns and limits the calls count in",
        ),
        (
            "SNAKEPIT_CA_FILE",
            f"`{trust.MOUNTED}`, if it is there",
            "certificates of the CAs that speak for the control plane: all is TLS then, also of agents and the operator; "
            f"`{trust.OFF}`: nothing is",
        ),
        ("SNAKEPIT_TLS_SERVER_NAME", "the host of `SNAKEPIT_SERVER`", "whom the control plane's certificate must name"),
        (f"{trust.CERT} {trust.KEY}", NONE, "a certificate of the caller's own, PEM, see docs/security.md#on-the-wire"),
        ("SNAKEPIT_LANES", "on", "`off`: no lanes beside the gRPC stream, and no payload over 4 MiB"),
        ("GRPC_ENABLE_FORK_SUPPORT", "0, set by us", "gRPC's own fork handlers, see docs/caller.md#threads-event-loops-processes"),
    ),
    "the worker": (
        ("SNAKEPIT_LOG_LEVEL", "info", "`debug`, `info`, `warning` or `error`: the root logger's level"),
        ("SNAKEPIT_LOG_FORMAT", "json", "`text`: lines for people"),
        (
            raised.VARIABLE,
            "on",
            "`off`: what tools raise is told to their callers alone, and is no line of the log, see docs/author.md#what-you-print",
        ),
        (THREADS_VARIABLE, "set by us", "threads of BLAS and OpenMP, see docs/author.md#profiles"),
        *((name, f"`{value}`, set by us with `startup: fork`", FORKED[name]) for name, value in forking.ENVIRONMENT.items()),
        (keeper.RUN_DIR_VARIABLE, f"`{keeper.RUN_DIR}`", "the folder that is shared with the agent; the operator mounts it"),
        (debugging.VARIABLE, NONE, "set by `snakepit dev --debug`: where `breakpoint()` asks"),
    ),
    "every program": (
        ("SNAKEPIT_LOG_LEVEL", "info", "`debug`, `info`, `warning` or `error`; the chart's `logLevel`"),
        ("SNAKEPIT_LOG_FORMAT", "json, `text` at a terminal", "form of the log"),
        ("GRPC_VERBOSITY", "NONE, set by us", "what gRPC itself prints; `INFO` has a line for each TLS handshake that fails"),
        (_grpc_threads.VARIABLE, f"`{_grpc_threads.FEWER}`, set by us", "how gRPC's core works: with fewer threads for each message"),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            NONE,
            "with its kin: where traces and metrics go, see docs/monitoring.md#opentelemetry; the chart's `otel.env`. Without one, "
            "nothing is traced or pushed. A program that calls needs the SDK's extra `otel` for it",
        ),
    ),
}
WANTED: Mapping[str, frozenset[str]] = {
    "who calls": frozenset({"SNAKEPIT_SERVER", "SNAKEPIT_TOKEN_FILE", "SNAKEPIT_CA_FILE"}),
    "the worker": frozenset({"SNAKEPIT_LOG_LEVEL", "SNAKEPIT_LOG_FORMAT", raised.VARIABLE, THREADS_VARIABLE, *forking.ENVIRONMENT}),
    "every program": frozenset({"SNAKEPIT_LOG_LEVEL", "SNAKEPIT_LOG_FORMAT", "OTEL_EXPORTER_OTLP_ENDPOINT"}),
    "the control plane": frozenset({"SNAKEPIT_LANE_LISTEN"}),
    "the gateway": frozenset({"SNAKEPIT_GATEWAY_MAX_HELD_BYTES", "SNAKEPIT_GATEWAY_AUTHORIZATION_SERVERS"}),
    "the agent": frozenset({"SNAKEPIT_LARGE_BYTES", "SNAKEPIT_MAX_NESTED_CALLS"}),
}
"""Those that somebody may want to set."""

_VARIABLE = r"[A-Z]+(?:_[A-Z]+)+"
_NAMED = re.compile(rf" ?\(({_VARIABLE}(?:(?:, | and ){_VARIABLE})*)(?:, by default ([^()]+))?\)")


def page() -> str:
    """The page as it is, with today's tables."""
    text = PAGE.read_text()
    tables: dict[str, Iterable[Row]] = {**LIBRARIES, **{place: itertools.chain(*map(rows, kinds)) for place, kinds in PARTS.items()}}
    for place, table in tables.items():
        wanted = WANTED.get(place, frozenset())
        text = filled(text, place, HEAD + "".join(written(row, wanted) for row in table), of="docs/environment.md")
    return text


def rows(kind: type) -> Iterator[Row]:
    """Of the fields of one class, in their order."""
    defaults = dict(_defaults(kind))
    for name, said in _docstrings(kind):
        if (named := _NAMED.search(said)) is not None:
            default = named[2] or (_shown(defaults[name]) if name in defaults else "required")
            yield " ".join(re.findall(_VARIABLE, named[1])), default, _NAMED.sub("", said)


def written(row: Row, wanted: Set[str]) -> str:
    """As a line of the page."""
    variables, default, said = row
    names = (f"**`{each}`**" if each in wanted else f"`{each}`" for each in variables.split())
    return f"| {', '.join(names)} | {default} | {_what(said)} |\n"


def _docstrings(kind: type) -> Iterator[tuple[str, str]]:
    """What stands below each field, on one line."""
    (made,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(made, ast.ClassDef)
    for field, below in zip(made.body, made.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            yield field.target.id, " ".join(str(below.value.value).split())


def _defaults(kind: type) -> Iterator[tuple[str, Any]]:
    for each in fields(kind) if is_dataclass(kind) else msgspec.structs.fields(kind):
        if each.default not in (MISSING, msgspec.NODEFAULT):
            yield each.name, each.default
        elif each.default_factory not in (MISSING, msgspec.NODEFAULT):
            yield each.name, None


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        default = ",".join(default)
    if default is None or default == "":
        return NONE
    return f"{default:g}" if isinstance(default, float) else str(default) if isinstance(default, int) else f"`{default}`"


def _what(said: str) -> str:
    """As a cell; pages that it names are links."""
    linked = re.sub(r"docs/([\w-]+)\.md(#[\w-]+)?", lambda page: f"[{page[1].replace('-', ' ')}]({page[1]}.md{page[2] or ''})", said)
    text = linked.removesuffix(".").replace("|", "\\|")
    return text if re.match("[A-Z]{2}", text) else text[:1].lower() + text[1:]

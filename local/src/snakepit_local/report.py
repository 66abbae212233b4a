"""What `snakepit dev` tells people: lines that read well on a terminal and in a log. It is told; it looks at nothing itself."""

from __future__ import annotations

import ast
import time
from collections.abc import Mapping, Set
from typing import Any, Literal

from rich.console import Console
from rich.text import Text

from snakepit._telemetry import log_lines
from snakepit._telemetry.log_lines import LogLine
from snakepit.client import ToolInfo
from snakepit_operator.model import FleetView

_EXAMPLES: Mapping[str, str] = {"integer": "3", "number": "1.5", "string": "text", "boolean": "true", "array": "[...]", "object": "{...}"}

_NEEDS = {"call_tool", "state", "session_id"}
"""What a context has, and a plain call has not."""

_NEEDY = 5
_MOST_CAUSES = 100


class Reporter:
    """Prints each change once. `say` is for events, `worker_line` for output; `json`: that as JSON."""

    def __init__(self, console: Console, *, json: bool = False) -> None:
        self._console = console
        self._json = json
        self._began = time.monotonic()
        self._states: dict[str, tuple[bool, int]] = {}
        self._causes: dict[tuple[str, str], str] = {}
        self._reloading: set[str] = set()

    def say(self, text: str, style: str = "") -> None:
        """Print a line with the time since the start."""
        self._console.print(Text(f"{time.monotonic() - self._began:7.2f}s  ", "dim") + Text(text, style), soft_wrap=True)

    def door(self, url: str, remark: str) -> None:
        """Where the gateway is (empty: nowhere), and what there is to say about it."""
        if url:
            self.say(f"console: {url}", "bold green")
        if remark:
            self.say(remark, "yellow")

    def gateway_line(self, line: str) -> bool:
        """What the gateway has logged, as JSON; it logs only what is wrong. Returns False, and says nothing, if it is something else."""
        record = log_lines.decode(line)
        if record is None:
            return False
        self.say(_with_trace(f"gateway: {record.message}", record), "yellow" if record.level == "warning" else "red")
        return True

    def worker_line(self, capsule: str, line: str) -> LogLine:
        """A line of the log of an author's container: people see it in words. Returns it, or what was printed past the log as one."""
        record = log_lines.decode(line)
        said = [line] if record is None or self._json else log_lines.as_text(record).split("\n")
        for each in said:
            self._console.print(Text(f"{capsule} | ", "cyan") + Text.from_ansi(each), soft_wrap=True)
        return record or _bare("worker", line)

    def agent_line(self, pool: str, capsule: str, line: str) -> LogLine | None:
        """What an agent logged, as JSON. What keeps workers from starting is said once for a pool, by the first capsule that has it.

        Returns it, or None where nothing was said.
        """
        record = log_lines.decode(line)
        if record is None:
            self._console.print(Text(f"{capsule} | ", "cyan") + Text.from_ansi(line), soft_wrap=True)
            return _bare("agent", line)
        message, cause, lasting = record.message, str(record.details.get("cause", "")), "tries" in record.details
        if cause and not self._is_its_own(pool, capsule, cause, lasting=lasting):
            return None
        if cause and not lasting:
            first, line_break, frames = message.partition("\n")
            served = pool in self._reloading and self._states.get(pool, (False, 0))[0]
            then = "the workers of before go on" if served else "it is tried again, at once when you save"
            message = f"{first} ({then}){line_break}{frames}"
        said = _with_trace(f"pool {pool}: {message}" if cause else f"capsule {capsule}: {message}", record)
        self.say(said, "yellow" if lasting or record.level == "warning" else "red")
        return record

    def _is_its_own(self, pool: str, capsule: str, cause: str, *, lasting: bool) -> bool:
        """Is the cause this capsule's to tell? It is if nobody has told it, or if this capsule has and now says that it lasts."""
        if (pool, cause) in self._causes:
            return lasting and self._causes[pool, cause] == capsule
        if len(self._causes) >= _MOST_CAUSES:
            del self._causes[next(iter(self._causes))]
        self._causes[pool, cause] = capsule
        return True

    def reloading(self, pool: str) -> None:
        """Its code has changed: what kept the old code from starting is told anew, if it does so still."""
        self._reloading.add(pool)
        for key in [key for key in self._causes if key[0] == pool]:
            del self._causes[key]

    def reloaded(self, pool: str, seconds: float) -> None:
        """Its new code serves."""
        self._reloading.discard(pool)
        self.say(f"pool {pool}: reloaded in {seconds:.1f} s", "green")

    def created(self, capsule: str, adapter: str) -> None:
        """A capsule is being started."""
        self.say(f"starting capsule {capsule} ({adapter})", "dim")

    def deleted(self, capsule: str, reason: str, message: str) -> None:
        """A capsule is being ended; `message` says what was wrong with it, if anything."""
        self.say(f"ending capsule {capsule}: {reason}{f' ({message})' if message else ''}", "yellow" if message else "dim")

    def pool(self, name: str, view: FleetView | None) -> None:
        """Say what has changed of its availability. While its code is replaced, nothing: what counts is what is there then."""
        if view is None:
            return
        if name in self._reloading:
            return
        state = (view.available, view.ready_workers)
        before = self._states.get(name)
        self._states[name] = state
        if state == before or (before is None and not view.available):
            return
        if view.available:
            self.say(f"pool {name}: {_many(view.ready_workers, 'ready worker')}, {_many(view.total_slots, 'slot')}", "green")
        else:
            self.say(f"pool {name} is not available: {view.reason} {view.message}".rstrip(), "yellow")

    def ready(
        self, address: str, url: str, pools: Mapping[str, list[ToolInfo]], needy: Mapping[str, Set[str]], *, tokens: bool = False
    ) -> None:
        """All pools are complete: print where to call them, and a command to try.

        `url`: the gateway's, or empty; `tokens`: callers are asked for theirs.
        """
        self.say(f"ready: the control plane is at {address}; Ctrl-C stops everything", "bold green")
        if tokens:
            self.say("callers bring a token: SNAKEPIT_TOKEN_FILE names the file of theirs, with nothing else in it")
        for name, tools in pools.items():
            if tools:
                self.say(f"try: {example(address, name, tools, needy[name])}", "bold")
                if url:
                    self.say(f"or over HTTP: {example_over_http(url, name, tools, needy[name])}")
                    self.say(f"or over MCP: {url}/mcp/{name}")


def _bare(component: Literal["agent", "worker"], text: str) -> LogLine:
    return LogLine(time=log_lines.moment(time.time()), level="info", component=component, message=text)


def _with_trace(said: str, record: LogLine) -> str:
    return f"{said}\n{record.exception}" if record.exception else said


def example(address: str, pool: str, tools: list[ToolInfo], needy: Set[str] = frozenset()) -> str:
    """A command that a person can paste: of a tool whose arguments are short to type, and that needs nothing else."""

    tool = _shortest(tools, needy)
    words = [f"{name}={_EXAMPLES.get(_kind(schema), '...')}" for name, schema in _required(tool).items()]
    server = [] if address.endswith(":7800") else ["--server", address]
    return " ".join(["snakepit", "call", pool, tool.name, *words, *(["--stream"] if tool.streaming else []), *server])


def example_over_http(url: str, pool: str, tools: list[ToolInfo], needy: Set[str] = frozenset()) -> str:
    """The same with curl."""
    tool = _shortest(tools, needy)
    values = (f'"{name}": {_as_json(schema)}' for name, schema in _required(tool).items())
    return f"curl {url}/v1/pools/{pool}/tools/{tool.name} --json '{{{', '.join(values)}}}'"


def _as_json(schema: Mapping[str, Any]) -> str:
    kind = _kind(schema)
    return f'"{_EXAMPLES[kind]}"' if kind == "string" else _EXAMPLES.get(kind, "...")


def _kind(schema: Mapping[str, Any]) -> str:
    """What has no annotation takes text, as anything."""
    return str(schema.get("type")) if schema else "string"


def _shortest(tools: list[ToolInfo], needy: Set[str]) -> ToolInfo:
    def cost(tool: ToolInfo) -> int:
        return (sum(_cost(schema) for schema in _required(tool).values()) or 2) + (_NEEDY if tool.name in needy else 0)

    return min(tools, key=lambda each: (cost(each), each.name))


def _cost(schema: Mapping[str, Any]) -> int:
    return 1 if _kind(schema) in ("integer", "number", "string", "boolean") else 10


def _required(tool: ToolInfo) -> dict[str, Mapping[str, Any]]:
    properties = tool.input_schema.get("properties", {})
    return {name: properties.get(name, {}) for name in tool.input_schema.get("required", [])}


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def needy_tools(source: str) -> set[str]:
    """Which tools need more than their arguments, as far as their code says: a session, or a client that offers them something.

    By name; what can't be read needs nothing.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return set()
    functions = [each for each in ast.walk(tree) if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return {
        _tool_name(each) for each in functions if any(isinstance(part, ast.Attribute) and part.attr in _NEEDS for part in ast.walk(each))
    }


def _tool_name(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """The one that `@tool(name=...)` gives it, or its own."""
    for decorator in function.decorator_list:
        for keyword in decorator.keywords if isinstance(decorator, ast.Call) else ():
            if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
                return str(keyword.value.value)
    return function.name

"""Which tools need more than their arguments, as far as their code says: a session, or a client that offers them something. Pure."""

from __future__ import annotations

import ast

_NEEDS = {"call_tool", "state", "session_id"}
"""What a context has, and a plain call has not."""


def needy_tools(source: str) -> set[str]:
    """By name. What can't be read needs nothing."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return set()
    functions = [each for each in ast.walk(tree) if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return {_name(each) for each in functions if any(isinstance(part, ast.Attribute) and part.attr in _NEEDS for part in ast.walk(each))}


def _name(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """The one that `@tool(name=...)` gives it, or its own."""
    for decorator in function.decorator_list:
        for keyword in decorator.keywords if isinstance(decorator, ast.Call) else ():
            if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
                return str(keyword.value.value)
    return function.name

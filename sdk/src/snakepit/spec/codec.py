"""Text and bytes to typed pools, and back. Knows where a person's mistakes are reported; the rules themselves are in `rules`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from snakepit import _extras
from snakepit.errors import InvalidArguments
from snakepit.spec.fields import SnakePool, SnakePoolSpec
from snakepit.spec.json_values import MOST_CHARACTERS, TOO_DEEP, problem
from snakepit.spec.schema import pool_schema
from snakepit.spec.validation import EvaluateCel, Problem, defaulted, validate

_spec_decoder = msgspec.json.Decoder(SnakePoolSpec)
_spec_encoder = msgspec.json.Encoder()


class InvalidPool(InvalidArguments):
    """A pool file that can't be used; `problems` are all of its faults, a sentence each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def encode_spec(spec: SnakePoolSpec) -> str:
    """Write the spec as JSON with every default spelled out, as `PoolSettings.spec` and SNAKEPIT_SPEC carry it."""
    return _spec_encoder.encode(spec).decode()


def decode_spec(data: bytes | str) -> SnakePoolSpec:
    """Read what `encode_spec` wrote; fields of a newer version are ignored. Raises InvalidPool."""
    try:
        return _spec_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidPool([f"pool settings can't be read: {error}"]) from error


def load_pools(text: str, evaluate_cel: EvaluateCel | None = None) -> list[SnakePool]:
    """Read every SnakePool of a YAML or JSON text, in order; other kinds are passed over.

    Rules over several fields are checked only where `evaluate_cel` is given (see `validate`). Raises one InvalidPool with all problems.
    """
    problems: list[str] = []
    pools: list[SnakePool] = []
    for document in _documents(text):
        found = validate(document, evaluate_cel)
        problems += [f"SnakePool {_name(document)!r}: {_told(each)}" for each in found]
        if not found:
            pools.append(msgspec.convert(defaulted(document, pool_schema()), SnakePool))
    if not problems and not pools:
        problems = ["there is no SnakePool in the file: it needs a document with apiVersion: snakepit.dev/v1alpha1 and kind: SnakePool"]
    if problems:
        raise InvalidPool(problems)
    return pools


def _told(problem: Problem) -> str:
    return f"{problem} (did you mean {problem.hint}?)" if problem.hint else str(problem)


def _yaml() -> Any:
    """Only a person's file is YAML: agents never get here, and their images have no library for it."""
    try:
        import yaml
    except ModuleNotFoundError as missing:
        raise InvalidPool([f"the module {missing.name!r} is missing, which reads pool files. {_extras.CLI}"]) from missing
    return yaml


def _documents(text: str) -> Iterator[dict[str, Any]]:
    yaml = _yaml()
    if len(text) > MOST_CHARACTERS:
        raise InvalidPool([f"the file has {len(text)} characters, {MOST_CHARACTERS} is the most: put its pools into several files"])
    try:
        for document in yaml.safe_load_all(text):
            for each in _objects_of(document):
                yield from _pool_of(each)
    except RecursionError:
        raise InvalidPool([TOO_DEEP]) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise InvalidPool([f"the file is not YAML: {_said_of_yaml(error)}"]) from error


def _said_of_yaml(error: Exception) -> str:
    """Put the parser's complaint in one line, with its place in the file."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if problem and mark else " ".join(str(error).split())


def _objects_of(document: Any) -> list[Any]:
    """The objects of a List, or the document itself; an empty document has none."""
    if isinstance(document, dict) and document.get("kind") == "List":
        items = document.get("items") or []
        return items if isinstance(items, list) else [items]
    return [] if document is None else [document]


def _pool_of(document: Any) -> Iterator[dict[str, Any]]:
    """Give the document where it is a pool; objects of other kinds are passed over."""
    if not isinstance(document, dict) or "kind" not in document:
        raise InvalidPool(
            ["the file holds something that is no Kubernetes object: each document needs apiVersion, kind, metadata and spec"]
        )
    if document["kind"] == "List":
        raise InvalidPool(["the file has a List within a List: write all objects into one"])
    if document["kind"] == "SnakePool":
        if wrong := problem(document):
            raise InvalidPool([wrong])
        yield document


def _name(document: dict[str, Any]) -> str:
    metadata = document.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, dict) else ""

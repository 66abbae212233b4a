"""Local validation of pool files; tests/e2e/test_crd_rules.py compares the same table with a real API server."""

from __future__ import annotations

import copy
from typing import Any

import cel
import pytest

from snakepit.spec import validate
from snakepit.spec.rules import RULES, Rule
from snakepit.spec.schema import pool_schema
from support.pool_files import BAD, GOOD, RULE_EXAMPLES, Case, document


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.id)
def test_accepted(case: Case) -> None:
    assert validate(case.document, cel.evaluate) == []


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.id)
def test_refused_with_a_sentence_that_names_the_fault(case: Case) -> None:
    assert case.sentence in "\n".join(str(each) for each in validate(case.document, cel.evaluate))


@pytest.mark.parametrize(("rule", "examples"), list(zip(RULES, RULE_EXAMPLES, strict=True)), ids=[rule.message for rule in RULES])
def test_each_rule_is_the_one_that_refuses_its_example(rule: Rule, examples: tuple[dict[str, Any], dict[str, Any]]) -> None:
    (problem,) = validate(document(examples[1]), cel.evaluate)
    assert problem.message == f"Invalid value: {rule.message}"
    assert problem.field == ".".join(rule.path)


def test_rules_have_a_message_each() -> None:
    assert len({rule.message for rule in RULES} - {""}) == len(RULES)


def test_every_fault_is_named_at_once() -> None:
    found = validate(document({"replicas": -1, "queue": {"maxSize": 0}, "worker": {"adapter": "a b"}}), cel.evaluate)
    assert {each.field for each in found} == {"spec.replicas", "spec.queue.maxSize", "spec.worker.adapter"}


def test_rules_are_left_out_without_an_evaluator() -> None:
    assert validate(document(RULE_EXAMPLES[0][1])) == []


def test_neither_the_document_nor_the_schema_is_changed() -> None:
    given = document({"queue": None})
    before, schema = copy.deepcopy(given), copy.deepcopy(pool_schema())
    validate(given, cel.evaluate)
    assert given == before
    assert pool_schema() == schema

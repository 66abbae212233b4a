"""What KEDA's triggers may ask, and what they are answered."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from snakepit.spec.fields import API_VERSION, KIND, SnakePool
from snakepit.spec.status import SnakePoolStatus
from snakepit_operator.keda import Question, Refusal, is_active, number, question
from snakepit_operator.pool_metrics import METRICS
from support.documents import scaled_object
from support.operator_world import pool

ASKED = Question("default/digits", "recommended_replicas", 1.0)


def with_status(of: SnakePool | None = None, **status: Any) -> SnakePool:
    return msgspec.structs.replace(of or pool(), status=SnakePoolStatus(**status))


def refused(namespace: str = "default", **metadata: str) -> tuple[str, str]:
    with pytest.raises(Refusal) as caught:
        question(namespace, metadata)
    return caught.value.code, caught.value.sentence


def test_a_pools_name_is_enough_and_follows_the_recommendation() -> None:
    assert question("default", {"scalerAddress": "snakepit-keda:7805", "enableTLS": "true", "pool": "digits"}) == ASKED
    assert question("default", {"pool": "default/digits"}) == ASKED


def test_the_documents_trigger_asks_for_the_recommendation() -> None:
    document = scaled_object("digits")
    (trigger,) = document["spec"]["triggers"]
    assert question("default", trigger["metadata"]) == ASKED
    assert document["spec"]["scaleTargetRef"] == {"apiVersion": API_VERSION, "kind": KIND, "name": "digits"}


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_of_pools_can_be_asked_for(metric: str) -> None:
    assert question("default", {"pool": "digits", "metric": metric, "target": "2.5"}) == Question("default/digits", metric, 2.5)
    known = {"recommended_replicas": 3, "busy_slots": 3, "queue_depth": 3, "sessions": 3, "total_slots": 200}
    assert number(ASKED, metric, with_status(**known)) == 3


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({}, "metadata.pool is missing: write the SnakePool's name there, as in `pool: digits`"),
        ({"pool": "digits", "metrc": "x"}, "metadata.metrc is unknown: use pool, metric and target"),
        ({"pool": "digits", "metric": "cpu"}, "metadata.metric: there is no 'cpu' of pools, use one of recommended_replicas, "),
        ({"pool": "digits", "metric": "queue_depth"}, "metadata.target is missing: say how much queue_depth one capsule should have"),
        ({"pool": "digits", "target": "many"}, "metadata.target must be a number above 0, as in `target: \"8\"`, and is 'many'"),
        ({"pool": "digits", "target": "0"}, "metadata.target must be a number above 0"),
        ({"pool": "digits", "target": "nan"}, "metadata.target must be a number above 0"),
        ({"pool": "digits", "target": "inf"}, "metadata.target must be a number above 0"),
        ({"pool": "Digits"}, "metadata.pool: 'Digits' can be the name of none"),
        ({"pool": "digits\n"}, "metadata.pool: 'digits\\n' can be the name of none"),
        ({"pool": "x" * 300}, "metadata.pool: "),
    ],
)
def test_what_is_wrong_in_a_trigger_is_told_with_its_field_and_what_to_write(metadata: dict[str, str], told: str) -> None:
    code, sentence = refused(**metadata)
    assert code == "INVALID_ARGUMENT"
    assert sentence.startswith(told)
    assert len(sentence) < 500


@pytest.mark.parametrize("namespace", ["", "..", "a/b", "Default"])
def test_no_path_is_made_of_what_a_peer_calls_its_namespace(namespace: str) -> None:
    assert refused(namespace, pool="digits")[0] == "INVALID_ARGUMENT"


def test_a_pool_of_another_namespace_is_refused() -> None:
    code, sentence = refused("default", pool="other/digits")
    assert code == "PERMISSION_DENIED"
    assert sentence.startswith("metadata.pool is 'other/digits', and a ScaledObject scales what is in its own namespace, 'default'")


def test_a_pool_that_is_not_there_is_told() -> None:
    with pytest.raises(
        Refusal, match=r"there is no SnakePool default/digits: metadata\.pool must name one in the ScaledObject's namespace"
    ):
        is_active(ASKED, None)


def test_a_pool_that_sizes_itself_is_not_scaled_by_keda() -> None:
    itself = with_status(pool(autoscaling={"maxReplicas": 3}), in_use=True, recommended_replicas=2)
    for ask in (lambda: is_active(ASKED, itself), lambda: number(ASKED, "queue_depth", itself)):
        with pytest.raises(Refusal, match=r"ignores the spec.replicas that KEDA writes: remove one of the two") as caught:
            ask()
        assert caught.value.code == "FAILED_PRECONDITION"


def test_what_nobody_knows_is_no_number() -> None:
    """Zero would have the pool scaled down."""
    for unheard in (pool(), with_status()):
        with pytest.raises(Refusal, match="nobody knows recommended_replicas of default/digits now") as caught:
            number(ASKED, "recommended_replicas", unheard)
        assert caught.value.code == "UNAVAILABLE"
        with pytest.raises(Refusal, match="nobody knows whether default/digits is in use now"):
            is_active(ASKED, unheard)


def test_a_pool_without_slots_has_no_load() -> None:
    assert number(ASKED, "load_percent", with_status(total_slots=0, busy_slots=0, queue_depth=3)) == 0


@pytest.mark.parametrize("in_use", [True, False])
def test_a_pool_is_active_while_it_is_in_use(in_use: bool) -> None:
    assert is_active(ASKED, with_status(in_use=in_use)) is in_use

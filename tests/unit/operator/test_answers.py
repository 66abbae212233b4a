"""What the API server answers: a refusal with its own words, and nothing that can't be read is taken for something that isn't there."""

from __future__ import annotations

import pytest

from snakepit_operator.kube import LISTED, PODS, KubeError, said


@pytest.mark.parametrize("data", [b"<html>", b'{"items": [{"metadata": {"generation": "three"}}]}', b'{"items": 3}'])
def test_a_list_that_can_not_be_read_is_no_empty_list(data: bytes) -> None:
    with pytest.raises(KubeError, match="can't be read"):
        said(200, data, LISTED[PODS])


def test_what_is_left_out_of_a_list_or_is_null_in_it_is_nothing() -> None:
    pod = b'{"metadata": {"name": "a", "labels": null, "managedFields": [{}]}, "spec": {"nodeName": "n", "containers": [{}]}}'
    found = said(200, b'{"items": [' + pod + b"]}", LISTED[PODS])
    assert found == {"items": [{"metadata": {"name": "a", "labels": None}, "spec": {"nodeName": "n"}}]}
    assert said(200, b'{"items": null}', LISTED[PODS]) == {"items": None}


def test_a_refusal_has_the_words_of_whoever_refuses() -> None:
    with pytest.raises(KubeError, match="no such thing") as refused:
        said(404, b'{"reason": "NotFound", "message": "no such thing", "details": {"causes": [{"reason": "Gone"}]}}', LISTED[PODS])
    assert (refused.value.missing, refused.value.causes) == (True, ("Gone",))
    with pytest.raises(KubeError, match="<html>"):
        said(502, b"<html>")

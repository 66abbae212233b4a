"""`helm test`, word for word as the notes of the chart say it."""

from __future__ import annotations

from support.kube import SYSTEM, eventually, kubectl, run

LEFT = ("sp/snakepit-test", "configmap/snakepit-test", "pod/snakepit-test")


def test_helm_test_makes_a_pool_calls_it_and_takes_everything_away(release: None) -> None:
    done = run("helm", "test", "snakepit", "-n", SYSTEM, timeout=240)
    assert "Hello Helm, this is Snakepit." in done.stdout + done.stderr
    assert [kubectl("get", each, "-n", SYSTEM, "--ignore-not-found", "-o", "name") for each in LEFT] == [""] * len(LEFT)
    eventually(
        lambda: not kubectl("get", "pods", "-n", SYSTEM, "-l", "snakepit.dev/pool=snakepit-test", "-o", "name"), "its capsule is gone"
    )

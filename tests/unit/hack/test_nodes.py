"""How many nodes a cluster has: two, or as many as `up` was told, for all commands that follow."""

from pathlib import Path

import pytest
from localcluster import cli, manifests, network
from localcluster.paths import State


def test_there_are_two_unless_somebody_says_otherwise() -> None:
    assert cli.parser().parse_args(["up"]).nodes == network.NODES == 2
    assert cli.parser().parse_args(["up", "--nodes", "3"]).nodes == 3


@pytest.mark.parametrize("number", ["0", "10", "many"])
def test_a_number_that_can_not_be_is_refused_with_those_that_can(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["up", "--nodes", number])
    assert ended.value.code == 2
    assert "--nodes" in capsys.readouterr().err


def test_a_running_cluster_knows_how_many_it_has_and_each_has_its_volumes(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.has_nodes(3)
    assert list(State(tmp_path).nodes) == [1, 2, 3]
    volumes = [each["metadata"]["name"] for each in manifests.first(state)["items"] if each["kind"] == "PersistentVolume"]
    assert {name.rpartition("-")[0] for name in volumes} == {"node-1", "node-2", "node-3"}
    assert len(volumes) == 3 * manifests.VOLUMES_PER_NODE

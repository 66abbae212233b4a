"""What can be typed at hack/cluster, and what it says when that is wrong."""

from pathlib import Path

import pytest
from localcluster import cli, commands, images, paths
from localcluster.shell import Failure


@pytest.fixture
def nothing_running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SNAKEPIT_CLUSTER_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("SNAKEPIT_CLUSTER_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("argv", [[], ["sideways"], ["kill-node"], ["kill-node", "one"]], ids=" ".join)
def test_bad_usage_ends_with_2(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(argv)
    assert ended.value.code == 2


@pytest.mark.parametrize(
    "argv",
    [["exec", "--", "true"], ["load", "some/image"], ["kill-node", "1"], ["start-node", "1"], ["cut-node", "1"], ["join-node", "1"]],
    ids=" ".join,
)
def test_without_a_cluster_it_names_the_command_that_starts_one(
    argv: list[str], nothing_running: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == 1
    assert "Start it with `python3 hack/cluster up`" in capsys.readouterr().err


def test_exec_wants_a_command(nothing_running: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["exec", "--"]) == 1
    assert "exec needs a command" in capsys.readouterr().err


def test_exec_passes_options_on_as_they_are() -> None:
    arguments = cli.parser().parse_args(["exec", "--", "kubectl", "get", "pods", "-A", "--", "x"])
    assert cli.command_to_execute(arguments.argv) == ["kubectl", "get", "pods", "-A", "--", "x"]


def test_an_image_that_is_not_there_to_build_is_answered_with_those_that_are() -> None:
    with pytest.raises(Failure, match=r"no image called nonsense; there are: agent, control-plane, .*redis"):
        images.with_parents(["nonsense"])


def test_an_image_is_built_after_the_one_that_it_starts_from() -> None:
    assert [image.name for image in images.with_parents(["digits"])] == ["worker", "digits"]


def test_no_names_mean_all_images() -> None:
    assert images.with_parents([]) == list(images.IMAGES)


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("redis", "docker.io/library/redis:latest"),
        ("snakepit/agent:dev", "docker.io/snakepit/agent:dev"),
        ("localhost/agent", "localhost/agent:latest"),
        ("localhost:5000/agent:1", "localhost:5000/agent:1"),
        ("registry.example/team/agent", "registry.example/team/agent:latest"),
    ],
)
def test_short_image_names_mean_what_they_mean_to_kubernetes(short: str, full: str) -> None:
    assert images.qualified(short) == full


def test_repository_and_tag_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE_REPOSITORY", "registry.example/pit")
    monkeypatch.setenv("IMAGE_TAG", "1")
    arguments = cli.parser().parse_args(["build", "agent"])
    assert images.Naming(arguments.repository, arguments.tag).of("agent") == "registry.example/pit/agent:1"


def test_a_cluster_of_another_checkout_is_left_alone_and_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    state = paths.State(tmp_path)
    state.owner.write_text("/elsewhere\n")
    monkeypatch.setattr(commands, "running", lambda state: True)
    here = paths.Paths(Path("/here"), tmp_path, state, tmp_path / "lock")
    with pytest.raises(Failure, match=r"belongs to the checkout /elsewhere; end it with .* down --any"):
        commands.down(here)


def test_state_and_cache_have_defaults_outside_the_checkout() -> None:
    where = paths.from_environment({"HOME": "/home/somebody"})
    assert where.cache == Path("/home/somebody/.cache/snakepit-cluster")
    assert where.state.root == Path("/var/lib/snakepit-cluster")


def test_two_state_folders_have_two_locks() -> None:
    locks = {paths.from_environment({"SNAKEPIT_CLUSTER_STATE": state}).lock for state in ("/a", "/b")}
    assert len(locks) == 2

"""How the program recognises its own processes, so that it never ends somebody else's."""

import subprocess
import sys
from pathlib import Path

from localcluster import processes


def fake_process(proc: Path, pid: int, argv: list[str], namespaced: str) -> None:
    folder = proc / str(pid)
    folder.mkdir()
    (folder / "cmdline").write_bytes(b"".join(argument.encode() + b"\0" for argument in argv))
    (folder / "status").write_text(f"Name:\tpython3\nNSpid:\t{namespaced}\nThreads:\t1\n")


def test_a_process_is_known_by_the_end_of_its_command_line(tmp_path: Path) -> None:
    fake_process(tmp_path, 7, ["python3", "hack/cluster", "_sandbox", "/state"], "7\t1")
    fake_process(tmp_path, 8, ["python3", "hack/cluster", "_sandbox", "/other"], "8\t1")
    fake_process(tmp_path, 9, ["grep", "_sandbox", "/state", "file"], "9")
    assert [process.pid for process in processes.find("_sandbox", "/state", proc=tmp_path)] == [7]


def test_only_the_first_process_of_a_namespace_is_its_init(tmp_path: Path) -> None:
    fake_process(tmp_path, 7, ["unshare", "python3", "hack/cluster", "_node", "/state", "1"], "7")
    fake_process(tmp_path, 8, ["python3", "hack/cluster", "_node", "/state", "1"], "8\t2\t1")
    found = processes.find("_node", "/state", "1", proc=tmp_path)
    assert [process.is_init for process in found] == [False, True]


def test_a_process_that_is_gone_has_no_command_line(tmp_path: Path) -> None:
    assert processes.command_line(7, tmp_path) == ()
    assert processes.namespaced_pids(7, tmp_path) == ()


def test_a_command_line_that_is_nothing_but_the_ending_is_not_ours() -> None:
    assert not processes.ends_with(("_node", "/state", "1"), ("_node", "/state", "1"))


def test_a_pid_that_belongs_to_somebody_else_by_now_is_left_alone() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as somebody:
        processes.kill(processes.Process(somebody.pid, ("python3", "hack/cluster", "_sandbox", "/state"), (1,)))
        assert somebody.poll() is None
        somebody.communicate(b"\n")
    assert somebody.returncode == 0


def test_killing_waits_until_the_process_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as ours:
        processes.kill(processes.Process(ours.pid, processes.command_line(ours.pid), ()))
        assert ours.wait(timeout=1) < 0


def test_a_pid_that_is_free_is_no_error() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    processes.kill(processes.Process(ended.pid, ("gone",), ()))

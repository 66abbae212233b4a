"""Workers of a capsule have one uid, and yet none reaches into another's process, nor into the keeper's."""

from __future__ import annotations

import os
from typing import Any

import pytest

from snakepit_worker import box
from support.capsules import capsule, spec
from support.replica import Replica, replica

pytestmark = pytest.mark.skipif(not box.version(), reason="this kernel has no Landlock of Linux 5.19 or newer")

ADAPTER = "support.prying"
SECRET = "what its session told it"


@pytest.mark.parametrize("startup", ["fork", "spawn"])
async def test_a_tool_reaches_neither_the_memory_nor_the_descriptors_of_a_sibling_or_of_its_keeper(startup: str) -> None:
    pool = spec(ADAPTER, worker={"processes": 2, "startup": startup})
    async with replica() as control, capsule(pool, control, keeper=False) as local:
        await local.start_keeper("support.unprivileged_keeper")
        victim, prying = await control.ready(2)
        pid, address = await value(control, victim, "keep", secret=SECRET)
        of_a_sibling = await value(control, prying, "pry", pid=pid, address=address, length=len(SECRET))
        keeper = await value(control, prying, "parent")
        of_the_keeper = await value(control, prying, "pry", pid=keeper, address=address, length=len(SECRET))
        of_its_own = await value(control, prying, "pry_into_a_child", secret=SECRET)
        assert of_its_own == {
            "memory": SECRET,
            "process_vm_readv": SECRET,
            "pidfd_getfd": "got",
            "ptrace": "attached",
            "signal": "sent",
        }, "then it says nothing that the others can't be reached"
        for reached in (of_a_sibling, of_the_keeper):
            signalled = reached.pop("signal")
            assert signalled == ("PermissionError" if box.version() >= box.SIGNALS else "sent")
            assert set(reached.values()) == {"PermissionError"}, reached
        assert [each.incarnation for each in control.workers()] == [victim.incarnation, prying.incarnation]


@pytest.mark.skipif(os.getuid() != 0, reason="without the right to restrict itself, a process is in no domain")
@pytest.mark.parametrize("version", [2, 5, box.version()])
def test_of_each_version_of_landlock_a_process_in_its_box_renames_from_folder_to_folder(version: int, tmp_path: Any) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
    (ours / "file").touch()
    pid = os.fork()
    if pid == 0:
        entered = box.enter(version)
        (ours / "file").rename(theirs / "file")
        try:
            os.close(os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY))
        except PermissionError:
            os._exit(0 if entered else 1)
        os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0
    assert (theirs / "file").exists()


async def value(control: Replica, worker: Any, tool: str, **arguments: Any) -> Any:
    return await control.value(control.call(worker, tool, arguments))

"""How other programs are run: what they say is kept, within bounds."""

from pathlib import Path
from typing import IO

import pytest
from localcluster import shell
from localcluster.shell import Failure


def test_a_log_has_what_earlier_commands_said_until_that_is_long(tmp_path: Path) -> None:
    log = tmp_path / "log/of.log"
    shell.logged(["echo", "first"], log)
    shell.logged(["echo", "second"], log)
    assert log.read_text() == "first\nsecond\n"
    log.write_text("x" * (shell.MOST_LOGGED + 1))
    shell.logged(["echo", "third"], log)
    assert log.read_text() == "third\n"


def test_a_command_that_ends_before_it_has_read_all_says_why() -> None:
    def more_than_a_pipe_holds(pipe: IO[bytes]) -> None:
        pipe.write(bytes(1 << 22))

    with pytest.raises(Failure, match="no space left"):
        shell.fed(["sh", "-c", "echo no space left >&2; exit 1"], more_than_a_pipe_holds)

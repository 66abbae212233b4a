"""Large temporary folders of programs that were killed are removed by the next one, and none that is in use."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from localcluster import abandoned

HACK = Path(abandoned.__file__).resolve().parents[1]
MAKES_ONE = f"""
import sys
sys.path.insert(0, {str(HACK)!r})
from localcluster import abandoned
with abandoned.temporary("large-") as folder:
    (folder / "file").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def test_what_a_killed_program_left_is_removed_by_the_next_and_not_before_it_is_dead(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", MAKES_ONE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        left = Path(first.stdout.readline().strip())
        with abandoned.temporary("large-"):
            assert (left / "file").exists()
        first.kill()
        first.wait()
        assert left.exists()
        with abandoned.temporary("large-") as folder:
            assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) == []


def test_what_is_called_otherwise_or_is_just_being_made_stays(tmp_path: Path) -> None:
    (tmp_path / "other/inner").mkdir(parents=True)
    (tmp_path / "large-new").mkdir()
    with abandoned.temporary("large-"):
        pass
    assert {each.name for each in tmp_path.iterdir()} == {"other", "large-new"}

"""The recording of the demo that README shows: how it is made, and that its picture is drawn from the cast beside it."""

from __future__ import annotations

import re
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from recording import asciicast, picture, screen

IMAGES = Path(__file__).resolve().parents[3] / "docs/images"
BAR = ("\r\x1b[2Kwork 0/2", "\r\x1b[2Kwork 2/2", "\r\x1b[2K")


def cast(*events: tuple[float, str], columns: int = 40, rows: int = 3) -> asciicast.Cast:
    return asciicast.Cast(columns, rows, 0, "make it", events)


def texts(svg: str) -> list[str]:
    return [each.text or "" for each in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_readmes_picture_is_the_one_of_the_recording_beside_it() -> None:
    drawn = picture.svg(asciicast.read((IMAGES / "demo.cast").read_text()))
    assert drawn == (IMAGES / "demo.svg").read_text(), "run hack/recording --draw"


def test_a_program_is_recorded_with_what_was_typed_and_when_it_wrote(tmp_path: Path) -> None:
    made = asciicast.record((sys.executable, "-c", "print('done', end='')"), tmp_path, columns=40, rows=3, seconds=30)
    assert asciicast.read(made.text()) == asciicast.read(asciicast.read(made.text()).text())
    assert screen.final_lines(made)[-1] == "done"
    assert "".join(written for _, written in made.events).startswith(f"$ {sys.executable}")
    assert all(before <= after for (before, _), (after, _) in pairwise(made.events))


def test_a_program_that_fails_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"ended with 3:\n.*why"):
        asciicast.record(("sh", "-c", "echo why; exit 3"), tmp_path, columns=40, rows=3, seconds=30)


@pytest.mark.parametrize("program", [("sleep", "60"), ("sh", "-c", "for each in $(seq 2000); do echo more; sleep 0.01; done")])
def test_a_program_that_never_ends_is_no_recording(program: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asciicast, "ENDS_SECONDS", 0.1)
    with pytest.raises(RuntimeError, match="did not end in time"):
        asciicast.record(program, tmp_path, columns=40, rows=3, seconds=0.1)


def test_a_recording_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version 3"):
        asciicast.read('{"version": 3}\n')


def test_lines_come_slowly_enough_to_be_read_and_pauses_are_cut() -> None:
    paced = list(screen.paced([(0.0, "one\ntwo\n"), (60.0, "three\n"), (60.1, "\n")]))
    assert [piece for _, piece in paced] == ["one\n", "two\n", "three\n", "\n"]
    assert [at for at, _ in paced] == pytest.approx([0.0, 0.4, 0.8 + screen.IDLE_SECONDS, 1.3 + screen.IDLE_SECONDS])


def test_a_progress_bar_takes_no_longer_than_a_pause() -> None:
    steps = [(float(at), f"\r\x1b[2K{at} of 60") for at in range(60)]
    lines, _, last = screen.shown(cast((0.0, "go\n"), *steps, (60.0, "\r\x1b[2Kdone\n")))
    assert last == pytest.approx(screen.LINE_SECONDS + screen.IDLE_SECONDS)
    assert [run.text for line in lines for run in line.runs] == ["go", "0 of 60", "1 of 60", "done"]


def test_what_is_written_over_is_shown_until_then_and_no_longer() -> None:
    made = cast((0.0, "$ go\r\n"), *((1.0 + at / 10, each) for at, each in enumerate(BAR)), (2.0, "\x1b[32mok\x1b[0m\r\n"))
    lines, lowest, last = screen.shown(made)
    assert [("".join(run.text for run in line.runs), line.ends is None) for line in lines] == [
        ("$ go", True),
        ("work 0/2", False),
        ("work 2/2", False),
        ("ok", True),
    ]
    assert [row for _, row in lowest] == [0, 1, 2]
    assert lines[-1].runs[0].colour == "green"
    assert lines[-1].begins == pytest.approx(last)
    assert screen.final_lines(made) == ["$ go", "ok"]


def test_the_picture_has_every_line_and_ends_with_the_last_ones_in_sight() -> None:
    made = cast(*((float(at), f"<line {at}>\r\n") for at in range(5)))
    svg = picture.svg(made)
    assert texts(svg)[1:] == [f"<line {at}>" for at in range(5)]
    assert re.search(r"\.all\{transform:translateY\((-?\d+)px\)", svg)[1] == str(-3 * picture.LINE)  # type: ignore[index]
    assert "prefers-reduced-motion" in svg

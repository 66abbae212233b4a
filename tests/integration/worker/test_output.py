"""Whatever an adapter prints, logs or writes comes out as log lines, each with the call that it is of."""

import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from snakepit import DeadlineExceeded, InvalidArguments, ToolError
from snakepit_worker.testing import LocalAgent, LocalWorker, wait_until
from support import log_lines

TALKING = "support.talking:Talking"


class Log:
    """The keeper's stderr in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Every line is as the schema of our logs says, or this raises."""
        return log_lines.lines(line for line in self.path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n"))

    def line(self, message: str) -> dict[str, Any]:
        """Wait for the line with this message."""
        return self.line_where(lambda line: line["message"] == message)

    def line_where(self, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        return wait_until(lambda: [line for line in self.lines if is_it(line)])[0]

    def of(self, *messages: str) -> dict[str, Any]:
        """Wait for the lines; what they have in common, without the time."""
        found = [self.line(message) for message in messages]
        assert len({(line.get("call"), line.get("tool")) for line in found}) == 1
        return found[0]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    (tmp_path / "log").touch()
    return Log(tmp_path / "log")


@pytest.fixture
def agent(log: Log) -> Iterator[LocalAgent]:
    with log.path.open("ab") as file, LocalAgent(stderr=file) as agent:
        yield agent


@pytest.fixture
def worker(agent: LocalAgent) -> LocalWorker:
    worker = agent.start(TALKING, name="capsule/0")
    worker.ready()
    return worker


def test_each_line_of_a_call_has_its_call_session_tool_and_worker(worker: LocalWorker, log: Log) -> None:
    said = {
        "say": "printed",
        "complain": "to stderr",
        "log": "logged",
        "say_later": "from a task",
        "say_beside": "from a thread",
        "say_in_c": "from c",
        "say_by_a_child": "from_a_child",
    }
    for tool, text in said.items():
        worker.call(tool, {"text": text}, session_id="ada")
    lines = [log.line(text) for text in said.values()]
    assert [line["tool"] for line in lines] == list(said)
    assert {(line["worker"], line["session"], line["component"]) for line in lines} == {("capsule/0", "ada", "worker")}
    assert len({line["call"] for line in lines}) == len(said)
    assert [line.get("stream") for line in lines[:2]] == ["stdout", "stderr"]
    assert (lines[2]["level"], lines[2]["logger"]) == ("warning", "snakepit.tool.log")


@pytest.mark.parametrize(("startup", "importer"), [("fork", "zygote"), ("spawn", "worker")])
def test_what_is_said_outside_a_call_has_its_worker_alone(agent: LocalAgent, log: Log, startup: str, importer: str) -> None:
    agent.start(TALKING, name="capsule/0", startup=startup)
    line = log.line("set up")
    assert line["worker"] == "capsule/0"
    assert not {"call", "tool"} & set(line)
    assert log.line("imported")["component"] == importer


TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_the_lines_of_a_call_that_is_traced_have_the_ids_of_the_tools_span(worker: LocalWorker, log: Log) -> None:
    own = "b7ad6b7169203331"
    worker.call("say", {"text": "printed"}, traceparent=f"00-{TRACE}-{own}-01")
    worker.call("log", {"text": "logged"}, traceparent=f"00-{TRACE}-{own}-00")
    worker.call("say", {"text": "not traced"}, traceparent="x" * 55)
    printed, logged = log.line("printed"), log.line("logged")
    assert (printed["trace_id"], logged["trace_id"]) == (TRACE, TRACE)
    assert (printed["span_id"], logged["span_id"]) == (own, own)
    assert "trace_id" not in log.line("not traced")


def test_an_exception_is_a_field_of_its_line(worker: LocalWorker, log: Log) -> None:
    worker.call("log_an_exception")
    line = log.line("it went wrong")
    assert (line["logger"], line["level"], line["tool"]) == ("mine", "error", "log_an_exception")
    assert line["exception"].endswith("KeyError: 'missing'")


def test_a_line_without_an_end_comes_out_at_the_end_of_its_call(worker: LocalWorker, log: Log) -> None:
    worker.call("say", {"text": "no end", "end": ""})
    worker.call("say", {"text": "next"})
    assert log.line("no end")["call"] != log.line("next")["call"]


def test_what_follows_the_last_newline_comes_out_at_the_end_of_its_call(worker: LocalWorker, log: Log) -> None:
    worker.call("say", {"text": "an end\nno end", "end": ""})
    assert log.line("no end")["call"] == log.line("an end")["call"]


@pytest.mark.parametrize("size", [16_000, 32_000, 40_000])
def test_a_printed_line_that_is_too_long_is_in_pieces_and_none_of_them_is_empty(worker: LocalWorker, log: Log, size: int) -> None:
    worker.call("say", {"text": "y" * size})
    worker.call("complain", {"text": "done"})
    log.line("done")
    pieces = [line["message"] for line in log.lines if line.get("tool") == "say"]
    assert pieces == ["y" * 16_000] * (size // 16_000) + ["y" * (size % 16_000)] * (size % 16_000 > 0)


def test_what_a_program_adds_to_its_records_is_in_their_details(worker: LocalWorker, log: Log) -> None:
    worker.call("log_more", {"text": "more"})
    line = log.line("more")
    assert (line["level"], line["tool"], line["call"] != "forged") == ("info", "log_more", True)
    said = line["details"]
    assert {name: said[name] for name in ("user", "size", "call", "half")} == {
        "user": "ada",
        "size": 1.5,
        "call": "forged",
        "half": "\\ud800",
    }
    assert said["huge"] == str(10**40)
    assert len(said["long"]) < 1_100


def test_a_message_that_can_not_be_made_is_one_line_that_says_where(worker: LocalWorker, log: Log) -> None:
    worker.call("log_wrongly", {"text": "many"})
    line = log.line_where(lambda line: line.get("logger") == "mine")
    assert re.fullmatch(r"'%d of it' can't be logged, at line \d+ of .*/talking\.py: TypeError: %d format: .*", line["message"])
    assert (line["level"], line["tool"]) == ("warning", "log_wrongly")
    assert [each["message"] for each in log.lines if each.get("tool")] == [line["message"]]


def test_what_ends_a_thread_of_a_tools_is_one_line_with_its_traceback(worker: LocalWorker, log: Log) -> None:
    worker.call("raise_beside", {"text": "beside"})
    line = log.line("the thread helper ends: KeyError: 'beside'")
    assert (line["level"], line["logger"], line["tool"]) == ("error", "threading", "raise_beside")
    assert line["exception"].endswith("KeyError: 'beside'\n")
    assert [each["message"] for each in log.lines if each.get("tool")] == [line["message"]]


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_progress_bar_is_one_line_in_its_last_form(worker: LocalWorker, log: Log, end: str) -> None:
    worker.call("show_a_bar", {"steps": 30, "end": end})
    log.of("30/30", "after")
    assert [line["message"] for line in log.lines if "/30" in line["message"]] == ["30/30"]


def test_a_progress_bar_that_is_wiped_away_is_no_line(worker: LocalWorker, log: Log) -> None:
    worker.call("show_a_bar", {"steps": 30, "end": "\r     \r"})
    worker.call("say", {"text": "last"})
    log.line("last")
    assert not [line["message"] for line in log.lines if "/30" in line["message"]]


def test_calls_that_run_at_once_keep_their_lines_apart(agent: LocalAgent, log: Log) -> None:
    worker = agent.start(TALKING, profile="thread", slots=3)
    ids = [worker.begin("meet_and_say", {"text": f"call {n}", "parties": 3}, session_id=f"s{n}") for n in range(3)]
    for id in ids:
        worker.done(id)
    for n in range(3):
        common = log.of(*(f"call {n} {number}" for number in range(20)))
        assert common["session"] == f"s{n}"
    assert len({log.line(f"call {n} 0")["call"] for n in range(3)}) == 3


@pytest.mark.parametrize("how", ["exit", "kill", "segfault"])
def test_nothing_that_was_written_is_lost_when_the_worker_dies(agent: LocalAgent, log: Log, how: str) -> None:
    worker = agent.start(TALKING)
    worker.begin("say_and_die", {"text": "last words", "how": how})
    worker.exited()
    assert log.line("last words")["tool"] == "say_and_die"
    raw = log.line_where(lambda line: line["message"].startswith("and without an end"))
    assert raw["call"] == log.line("last words")["call"]


@pytest.mark.parametrize(
    ("data", "messages"),
    [
        pytest.param(b"one\ntwo\r\n", ["one", "two"], id="newlines"),
        pytest.param(b"\xff\xfe\x00bin\n", ["\\xff\\xfe\x00bin"], id="binary"),
        pytest.param(b"a\x1eb\x1e\n", ["a\x1eb\x1e"], id="our own mark"),
        pytest.param(b'x\x1e[1,"info","stdout"\n', ['x\x1e[1,"info","stdout"'], id="half a record"),
        pytest.param(b'{"level": "forged"}\n', ['{"level": "forged"}'], id="a line of the log"),
        pytest.param(b"y" * 40_000 + b"\n", ["y" * 16_000, "y" * 16_000, "y" * 8_000], id="gigantic"),
    ],
)
def test_no_output_breaks_a_line_of_the_log(agent: LocalAgent, log: Log, data: bytes, messages: list[str]) -> None:
    worker = agent.start(TALKING)
    worker.call("write", {"data": data})
    worker.call("say", {"text": "done"})
    log.line("done")
    written = [line["message"] for line in log.lines if line.get("tool") == "write"]
    assert written == messages
    assert worker.call("capture") == "mine\n"


@pytest.mark.parametrize("tool", ["close_everything", "turn_away"])
def test_closed_or_redirected_descriptors_silence_nobody_and_break_nothing(agent: LocalAgent, log: Log, tool: str) -> None:
    worker = agent.start(TALKING)
    worker.call(tool, {"text": "still here"})
    worker.call("say", {"text": "and here"})
    assert log.line("still here")["tool"] == tool
    assert log.line("and here")["tool"] == "say"


def test_a_pipe_that_was_made_non_blocking_loses_nothing(agent: LocalAgent, log: Log) -> None:
    agent.start(TALKING).call("dont_block", {"text": "x" * 500})
    log.line(f"{'x' * 500} 1999")
    assert sum(line.get("tool") == "dont_block" for line in log.lines) == 2000


def test_a_collector_that_is_killed_is_replaced(agent: LocalAgent, log: Log) -> None:
    worker = agent.start(TALKING)
    os.kill(worker.call("collector"), signal.SIGKILL)
    worker.call("say", {"text": "to the next one"})
    assert log.line("to the next one")["tool"] == "say"
    assert agent.start(TALKING, index=1).call("capture") == "mine\n"


def test_whoever_reads_the_log_slowly_keeps_nobody_waiting_and_is_told_what_was_dropped() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as file, LocalAgent(stderr=file) as agent:
        worker = agent.start(TALKING, name="capsule/0")
        worker.call("flood", {"lines": 20_000})  # some 7 MB, which nobody reads
        worker.call("say", {"text": "never blocked"})
        worker.signal(signal.SIGKILL)
        assert worker.exited().signal == signal.SIGKILL
        agent.start(TALKING, index=1).call("capture")
        received = bytearray()
        thread = threading.Thread(target=_read_all, args=(reader, received))
        thread.start()
        wait_until(lambda: b" were dropped here" in received)
    thread.join()
    lines = [json.loads(line) for line in received.splitlines()]
    of_it = [line for line in lines if line.get("worker") == "capsule/0"]
    dropped = sum(int(line["message"].split()[0]) for line in of_it if line.get("logger") == "snakepit.logs")
    assert dropped + sum("logger" not in line for line in of_it) == 20_000 + 2  # with "set up" and "never blocked"


def _read_all(descriptor: int, into: bytearray) -> None:
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        while data := file.read(1 << 16):
            into += data


def test_lines_for_people_begin_with_their_tool(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file, LocalAgent({"SNAKEPIT_LOG_FORMAT": "text"}, stderr=file) as agent:
        worker = agent.start(TALKING)
        worker.call("say", {"text": "hello"}, session_id="ada")
        worker.call("log", {"text": "beware"})
    text = log.read_text()
    assert "set up\n" in text
    assert "say [ada]: hello\n" in text
    assert "log: WARNING: beware\n" in text


@pytest.mark.parametrize("profile", ["process", "thread"])
@pytest.mark.parametrize("tool", ["raise_deeply", "raise_later", "raise_in_a_stream", "raise_at_an_await"])
def test_what_a_tool_raises_is_one_record_with_its_call_and_the_authors_frames_alone(
    agent: LocalAgent, log: Log, profile: str, tool: str
) -> None:
    worker = agent.start(TALKING, name="capsule/0", profile=profile)
    with pytest.raises(ToolError) as told:
        worker.call(tool, {"text": "none left"}, session_id="ada")
    line = log.line("raised KeyError: 'none left'")
    assert (line["level"], line["component"], line["worker"], line["session"], line["tool"]) == (
        "error",
        "worker",
        "capsule/0",
        "ada",
        tool,
    )
    assert line["call"]
    assert line["logger"] == f"snakepit.tool.{tool}"
    assert line["exception"] == told.value.traceback
    files = re.findall(r'File "(.*)", line', line["exception"])
    assert files
    assert {Path(file).name for file in files} == {"talking.py"}
    assert line["exception"].endswith("KeyError: 'none left'\n")
    worker.stop()
    assert len([line for line in log.lines if "none left" in line["message"]]) == 1


def test_what_is_a_callers_fault_is_told_to_the_caller_alone(worker: LocalWorker, log: Log) -> None:
    for arguments in ({}, {"text": 7}, {"text": "x", "nope": 1}):
        with pytest.raises(InvalidArguments):
            worker.call("raise_deeply", arguments)
    worker.call("say", {"text": "done"})
    log.line("done")
    assert not [line for line in log.lines if line["level"] != "info"]


def test_what_interrupts_a_tool_is_no_exception_of_its_own(worker: LocalWorker, log: Log) -> None:
    with pytest.raises(DeadlineExceeded):
        worker.call("doze", {"seconds": 60.0}, timeout=0.1)
    worker.stop()
    assert not [line for line in log.lines if line["level"] == "error"]


def test_exceptions_without_end_are_counted_and_a_tools_own(worker: LocalWorker, log: Log) -> None:
    for n in range(30):
        with pytest.raises(ToolError):
            worker.call("raise_deeply", {"text": f"no {n}"})
    with pytest.raises(ToolError):
        worker.call("raise_later", {"text": "another tool's"})
    worker.stop()
    assert log.line('raised KeyError: "another tool\'s"')
    told = [line["message"] for line in log.lines if line.get("logger") == "snakepit.tool.raise_deeply"]
    assert told[0] == "raised KeyError: 'no 0'"
    assert "(further ones of raise_deeply are told once in 10 s)" in told[9]
    left_out = sum(int(found[1]) for each in told if (found := re.search(r"(\d+) more", each)))
    assert len([each for each in told if each.startswith("raised")]) + left_out == 30
    assert len(told) < 14


def test_the_environment_says_that_callers_alone_are_told_of_exceptions(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file, LocalAgent({"SNAKEPIT_LOG_TOOL_ERRORS": "off"}, stderr=file) as agent:
        worker = agent.start(TALKING)
        with pytest.raises(ToolError):
            worker.call("raise_deeply", {"text": "no"})
        worker.call("say", {"text": "hello"})
        worker.stop()
    assert "hello" in log.read_text()
    assert "raised" not in log.read_text()


def test_an_exception_for_people_names_tool_session_and_call(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file, LocalAgent({"SNAKEPIT_LOG_FORMAT": "text"}, stderr=file) as agent:
        worker = agent.start(TALKING)
        with pytest.raises(ToolError):
            worker.call("raise_deeply", {"text": "no"}, session_id="ada")
        worker.stop()
    first, *frames = log.read_text().partition("raise_deeply [ada]: ")[2].splitlines()
    assert re.fullmatch(r"ERROR: raised KeyError: 'no' \(call .+\)", first)
    assert (frames[0], frames[-1]) == ("Traceback (most recent call last):", "KeyError: 'no'")


def test_a_result_that_can_not_be_carried_whole_is_said_to_the_author_once_for_each_tool(agent: LocalAgent, log: Log) -> None:
    worker = agent.start("support.values:Values")
    worker.ready()
    for _ in range(3):
        worker.done(worker.begin("make", {"name": "lock"}))
    worker.done(worker.begin("make_each", {"names": ["text", "function", "lock"]}, stream=True))
    worker.stop()
    said = log.line_where(lambda line: "make_each" in line["message"])
    assert said["level"] == "warning"
    assert said["message"].startswith("a result of tool make_each is incomplete: the value is a builtins.builtin_function_or_method")
    (line,) = [line["message"] for line in log.lines if "tool make " in line["message"]]
    assert line.startswith("a result of tool make is incomplete: $.odd[0] is a _thread.lock, which can't be carried")

"""Signals of the tests: those that a shell ignores for them (`nohup` SIGHUP, its background SIGINT and SIGQUIT), and SIGTERM."""

from __future__ import annotations

import signal

IGNORED_BY_SHELLS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


def hear() -> None:
    """Programs that tests start hear them, wherever the tests run; the tests themselves go on passing over them.

    What is ignored stays ignored in a program that is started, and a handler doesn't stay one.
    """
    for number in IGNORED_BY_SHELLS:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def end_in_order() -> None:
    """SIGTERM ends tests as Ctrl-C does, with the programs that they started; else it would leave those behind."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)

"""The container's command. It holds TERM back until the keeper can take it: PID 1 never gets a signal that came before its handler."""

from __future__ import annotations

import signal


def main() -> int:
    """`snakepit-keeper`: the keeper lets the signals in when its handlers are there, and finds what came meanwhile."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    from snakepit_worker import keeper

    return keeper.main()

"""`python -m simulation SEED ...` (in tests/): plays the seeds again, and says what happened in those that fail."""

from __future__ import annotations

import sys

from simulation.world import World, play

LINES = 120


def main(seeds: list[int]) -> int:
    failed = 0
    for seed in seeds:
        try:
            play(seed)
        except AssertionError as error:
            failed += 1
            world: World = error.world  # type: ignore[attr-defined]
            print(world.plan)
            for at, what in world.account.trace[-LINES:]:
                print(f"{at:10.4f} {what}")
            print(f"seed {seed}: {error}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main([int(each) for each in sys.argv[1:]]))

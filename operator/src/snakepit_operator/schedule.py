"""The fewest capsules of an autoscaled pool at one time: `minReplicas`, or what the schedule says. Pure.

An entry holds from its time on, until the time of another: the one whose time came last counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from snakepit.spec.fields import AutoscalingSpec, ScheduledMinimum


def least_replicas(policy: AutoscalingSpec, now: float) -> int:
    """The fewest capsules as of `now` (Unix seconds). Entries that can't be read don't count; `problem` says why they can't."""
    times = [(when, each.min_replicas) for each in policy.schedule if (when := _last(each, now)) is not None]
    return min(max(times)[1], policy.max_replicas) if times else policy.min_replicas


def problem(schedule: Iterable[ScheduledMinimum]) -> str:
    """What is wrong with the first entry that can't be read, in a sentence; empty: nothing."""
    for number, each in enumerate(schedule):
        try:
            CronSim(each.cron, datetime.fromtimestamp(0, ZoneInfo(each.time_zone)))
        except CronSimError as error:
            return f"autoscaling.schedule[{number}].cron {each.cron!r}: {error}; it is minute, hour, day of month, month, day of week"
        except (ZoneInfoNotFoundError, ValueError):
            return f"autoscaling.schedule[{number}].timeZone {each.time_zone!r} is not known: it is a name like Europe/Zurich"
    return ""


def _last(entry: ScheduledMinimum, now: float) -> datetime | None:
    """When the entry's time came last. None: never, or it can't be read."""
    try:
        # CronSim goes to times before the one given: that very time has come, too.
        here = datetime.fromtimestamp(now + 1, ZoneInfo(entry.time_zone))
        return next(CronSim(entry.cron, here, reverse=True), None)
    except (CronSimError, ZoneInfoNotFoundError, ValueError):
        return None

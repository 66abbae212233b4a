"""All pools at a glance: is anybody harmed, and which pool is it?"""

from __future__ import annotations

from dashboards.panels import Dashboard, Panel, Query, Row, Variable
from dashboards.promql import quantile, rate, seen, share, summed, total
from dashboards.shapes import ended_lives, rates, slowest
from snakepit.errors import BY_REASON, Fault

POOLS = 'pool=~"$pool"'
PLATFORM = "|".join(reason for reason, kind in BY_REASON.items() if kind.fault is Fault.PLATFORM)
"""Outcomes that are neither a caller's nor an author's doing."""
BUSY = f'{POOLS}, state="busy"'
READY = f'{POOLS}, state="ready"'
DESIRED = seen("snakepit_pool_desired_capsules", "pool", POOLS)
GOOD_IS_ZERO = ((None, "green"), (0.001, "orange"), (0.01, "red"))


def _stat(title: str, text: str, query: str, unit: str = "short", steps: tuple[tuple[float | None, str], ...] = ()) -> Panel:
    return Panel(title, text, [Query(query)], unit=unit, kind="stat", width=3, height=4, steps=steps)


GLANCE = Row(
    "At a glance",
    [
        _stat("Calls", "Answered, a second.", rate("snakepit_calls_total", where=POOLS), "reqps"),
        _stat(
            "Failed by the platform",
            "Calls that ended in a way that is neither the caller's nor the author's doing.",
            share(rate("snakepit_calls_total", where=f'{POOLS}, outcome=~"{PLATFORM}"'), rate("snakepit_calls_total", where=POOLS)),
            "percentunit",
            GOOD_IS_ZERO,
        ),
        _stat("p99", "From arrival at a replica to the answer.", quantile(0.99, "snakepit_call_duration_seconds", where=POOLS), "s"),
        _stat("Waiting", "Calls in queues.", total("snakepit_queue_depth", where=POOLS)),
        _stat(
            "Busy slots",
            "Of all slots of ready workers.",
            f"{summed('snakepit_slots', where=BUSY)} / ({summed('snakepit_slots', where=POOLS, over='pool, state')} > 0)",
            "percentunit",
        ),
        _stat("Workers", "That may be called.", summed("snakepit_workers", where=READY)),
        _stat("Sessions", "In the store.", summed("snakepit_sessions", where=POOLS)),
        _stat("Store", "Whether every replica reaches it.", "min (snakepit_store_up)", steps=((None, "red"), (1, "green"))),
    ],
)

CALLS = Row(
    "Calls",
    [
        Panel(
            "Calls by pool",
            "Answered, whatever the outcome.",
            [Query(rate("snakepit_calls_total", "pool", POOLS), "{{pool}}")],
            unit="reqps",
        ),
        rates(
            "Calls that didn't end well",
            "By outcome, the reason of docs/errors.md. TOOL_ERROR is the author's exception.",
            "snakepit_calls_total",
            "outcome",
            f'{POOLS}, outcome!="OK"',
            unit="reqps",
        ),
        slowest(
            "p99 by pool",
            "From arrival at a replica to the answer: waiting, running and carrying.",
            "snakepit_call_duration_seconds",
            "pool",
            POOLS,
            exemplars=True,
        ),
    ],
)

CAPACITY = Row(
    "Capacity",
    [
        Panel(
            "Busy slots by pool",
            "Of its slots. At 1 the next call waits.",
            [
                Query(
                    f"{seen('snakepit_slots', 'pool', BUSY)} / (sum by (pool) ({seen('snakepit_slots', 'pool, state', POOLS)}) > 0)",
                    "{{pool}}",
                )
            ],
            unit="percentunit",
            most=1,
        ),
        Panel("Waiting calls by pool", "In queues.", [Query(total("snakepit_queue_depth", "pool", POOLS), "{{pool}}")]),
        rates(
            "Refused calls",
            "Never reached a worker, by reason: full queues, limits, wrong names.",
            "snakepit_refusals_total",
            "reason",
            POOLS,
            unit="reqps",
        ),
        Panel(
            "Capsules by state",
            "As the control plane sees them: ready, suspect (silent for a while), draining.",
            [Query(summed("snakepit_capsules", "state", POOLS, "pool, state"), "{{state}}")],
            stacked=True,
        ),
        Panel(
            "Missing capsules",
            "So many fewer are ready than the pool should have.",
            [Query(f"clamp_min({DESIRED} - {seen('snakepit_pool_capsules', 'pool', READY)}, 0)", "{{pool}}")],
        ),
        ended_lives(POOLS),
    ],
)

TABLE = Row(
    "Pools",
    [
        Panel(
            "Pools",
            "One line each, now.",
            [
                Query(rate("snakepit_calls_total", "pool", POOLS), instant=True),
                Query(
                    share(
                        rate("snakepit_calls_total", "pool", f'{POOLS}, outcome=~"{PLATFORM}"'), rate("snakepit_calls_total", "pool", POOLS)
                    ),
                    instant=True,
                ),
                Query(quantile(0.99, "snakepit_call_duration_seconds", "pool", POOLS), instant=True),
                Query(total("snakepit_queue_depth", "pool", POOLS), instant=True),
                Query(seen("snakepit_workers", "pool", READY), instant=True),
                Query(seen("snakepit_sessions", "pool", POOLS), instant=True),
            ],
            kind="table",
            width=16,
            height=10,
            columns=(
                ("Calls", "reqps"),
                ("Failed by the platform", "percentunit"),
                ("p99", "s"),
                ("Waiting", "short"),
                ("Workers", "short"),
                ("Sessions", "short"),
            ),
        ),
        Panel(
            "Firing alerts",
            "Those of the chart. Each has its page: docs/alerts.md.",
            [Query('count by (alertname, severity, pool) (ALERTS{alertname=~"Snakepit.*", alertstate="firing"})', instant=True)],
            kind="table",
            height=10,
            columns=(("Count", "short"),),
        ),
    ],
)

DASHBOARD = Dashboard(
    uid="snakepit-fleet",
    title="Snakepit / Fleet",
    text="All pools: is anybody harmed, and which pool is it?",
    rows=[GLANCE, CALLS, CAPACITY, TABLE],
    variables=[Variable("pool", "label_values(snakepit_slots, pool)")],
)

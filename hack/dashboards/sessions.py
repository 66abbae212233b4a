"""Sessions and the store that keeps them: how many, where they went, and how the store does."""

from __future__ import annotations

from dashboards.panels import Dashboard, Panel, Query, Row, Variable
from dashboards.promql import quantile, rate, seen

POOLS = 'pool=~"$pool"'

BY_NAMESPACE = f'sum by (namespace) (label_replace({seen("snakepit_sessions", "pool", POOLS)}, "namespace", "$1", "pool", "(.*)/.*"))'
"""Not out of snakepit_namespace_sessions: a scraper may have a label `namespace` of its own, and rename that one's."""

SESSIONS = Row(
    "Sessions",
    [
        Panel("Sessions by pool", "In the store.", [Query(seen("snakepit_sessions", "pool", POOLS), "{{pool}}")]),
        Panel(
            "Of the quota",
            "Of session.maxSessions. At 1 new ones are refused with SESSION_QUOTA.",
            [Query(f"{seen('snakepit_sessions', 'pool', POOLS)} / ({seen('snakepit_sessions_limit', 'pool', POOLS)} > 0)", "{{pool}}")],
            unit="percentunit",
            most=1,
        ),
        Panel("Sessions by namespace", "Of all its pools.", [Query(BY_NAMESPACE, "{{namespace}}")]),
        Panel("Made", "New sessions.", [Query(rate("snakepit_sessions_created_total", "pool", POOLS), "{{pool}}")], unit="ops"),
        Panel(
            "Moved",
            "To another worker, by what had become of theirs. Their state goes along, their workers' memory doesn't.",
            [Query(rate("snakepit_sessions_moved_total", "reason", POOLS), "{{reason}}")],
            unit="ops",
            stacked=True,
        ),
        Panel(
            "Lost",
            "By reason. Whoever had one begins anew.",
            [Query(rate("snakepit_sessions_lost_total", "reason", POOLS), "{{reason}}")],
            unit="ops",
            stacked=True,
        ),
        Panel(
            "State operations",
            "What tools ask of ctx.state, by operation.",
            [Query(rate("snakepit_state_operations_total", "operation", POOLS), "{{operation}}")],
            unit="ops",
            stacked=True,
        ),
        Panel(
            "State operations that failed",
            "By outcome, the reason of docs/errors.md.",
            [Query(rate("snakepit_state_operations_total", "outcome", f'{POOLS}, outcome!="OK"'), "{{outcome}}")],
            unit="ops",
            stacked=True,
        ),
    ],
)

STORE = Row(
    "Store",
    [
        Panel(
            "Reached by",
            "So many replicas of the control plane reach it, and so many there are.",
            [Query("sum (snakepit_store_up)", "reach it"), Query("count (snakepit_store_up)", "replicas")],
        ),
        Panel(
            "Round trips",
            "By operation.",
            [
                Query(
                    f"{rate('snakepit_store_operation_duration_seconds_count', 'operation')}"
                    " or sum by (operation) (histogram_count(rate(snakepit_store_operation_duration_seconds[$__rate_interval])))",
                    "{{operation}}",
                )
            ],
            unit="ops",
            stacked=True,
        ),
        Panel(
            "Time of a round trip",
            "p99 by operation. A healthy Redis beside it takes about a millisecond.",
            [Query(quantile(0.99, "snakepit_store_operation_duration_seconds", "operation"), "{{operation}}")],
            unit="s",
        ),
        Panel(
            "Errors",
            "Round trips that failed, by operation.",
            [Query(rate("snakepit_store_errors_total", "operation"), "{{operation}}")],
            unit="ops",
            stacked=True,
        ),
    ],
)

DASHBOARD = Dashboard(
    uid="snakepit-sessions",
    title="Snakepit / Sessions and store",
    text="How many sessions there are, where they went, and how the store does that keeps them.",
    rows=[SESSIONS, STORE],
    variables=[Variable("pool", "label_values(snakepit_sessions, pool)")],
)

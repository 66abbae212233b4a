"""Sessions and the store that keeps them: how many, where they went, and how the store does."""

from __future__ import annotations

from dashboards.panels import Dashboard, Panel, Query, Row, Variable
from dashboards.promql import observed, rate, seen
from dashboards.shapes import rates, slowest

POOLS = 'pool=~"$pool"'

BY_NAMESPACE = f'sum by (namespace) (label_replace({seen("snakepit_sessions", "pool", POOLS)}, "namespace", "$1", "pool", "(.*)/.*"))'
"""Not out of snakepit_namespace_sessions: a scraper may have a label `namespace` of its own, and rename that one's."""

SESSIONS = Row(
    "Sessions",
    [
        Panel("Sessions by pool", "In the store.", [Query(seen("snakepit_sessions", "pool", POOLS), "{{pool}}")]),
        Panel(
            "Of the quota",
            "Of session.maxSessions. At 1 new ones are refused with SESSION_QUOTA; one caller alone gets 0.89.",
            [Query(f"{seen('snakepit_sessions', 'pool', POOLS)} / ({seen('snakepit_sessions_limit', 'pool', POOLS)} > 0)", "{{pool}}")],
            unit="percentunit",
            most=1,
        ),
        Panel("Sessions by namespace", "Of all its pools.", [Query(BY_NAMESPACE, "{{namespace}}")]),
        Panel("Made", "New sessions.", [Query(rate("snakepit_sessions_created_total", "pool", POOLS), "{{pool}}")], unit="ops"),
        rates("Not made", "By the limit that refused them.", "snakepit_sessions_refused_total", "limit", POOLS),
        rates(
            "Moved",
            "To another worker, by what had become of theirs. Their state goes along, their workers' memory doesn't.",
            "snakepit_sessions_moved_total",
            "reason",
            POOLS,
        ),
        rates("Lost", "By reason. Whoever had one begins anew.", "snakepit_sessions_lost_total", "reason", POOLS),
        rates(
            "State operations", "Of tools (ctx.state) and of clients, by operation.", "snakepit_state_operations_total", "operation", POOLS
        ),
        rates(
            "State operations that failed",
            "By outcome, the reason of docs/errors.md.",
            "snakepit_state_operations_total",
            "outcome",
            f'{POOLS}, outcome!="OK"',
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
        rates("Round trips", "By operation.", "snakepit_store_operation_duration_seconds", "operation", form=observed),
        slowest(
            "Time of a round trip",
            "p99 by operation. A healthy Redis beside it takes about a millisecond.",
            "snakepit_store_operation_duration_seconds",
            "operation",
        ),
        rates("Errors", "Round trips that failed, by operation.", "snakepit_store_errors_total", "operation"),
    ],
)

DASHBOARD = Dashboard(
    uid="snakepit-sessions",
    title="Snakepit / Sessions and store",
    text="How many sessions there are, where they went, and how the store does that keeps them.",
    rows=[SESSIONS, STORE],
    variables=[Variable("pool", "label_values(snakepit_sessions, pool)")],
)

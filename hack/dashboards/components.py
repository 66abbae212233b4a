"""Our own programs: control plane, operator, gateway and agents, and what they cost."""

from __future__ import annotations

from dashboards.panels import Dashboard, Panel, Query, Row
from dashboards.promql import observed, quantiles, seen, total
from dashboards.shapes import rates, slowest

BUILD = "on (job, instance) group_left (component) max by (job, instance, component) (snakepit_build_info)"
"""Gives a process's series the name of what it is; sides that scrape must know both by the same job and instance."""

PROCESSES = Row(
    "Processes",
    [
        Panel(
            "Versions",
            "How many of each run. Two of one component: an upgrade is under way, or has stuck.",
            [Query("count by (component, version) (snakepit_build_info)", instant=True)],
            kind="table",
            columns=(("Running", "short"),),
        ),
        Panel(
            "Processor",
            "Cores that each uses. A replica of the control plane has one event loop: near 1 it is full.",
            [Query(f"rate(process_cpu_seconds_total[$__rate_interval]) * {BUILD}", "{{component}} {{instance}}")],
        ),
        Panel(
            "Memory",
            "Resident.",
            [Query(f"process_resident_memory_bytes * {BUILD}", "{{component}} {{instance}}")],
            unit="bytes",
        ),
    ],
)

CONTROL_PLANE = Row(
    "Control plane",
    [
        Panel(
            "Links",
            "Open ones of agents and clients, and how their frames travel.",
            [Query(total("snakepit_links", "role, way"), "{{role}} by {{way}}")],
        ),
        Panel("Tasks", "Of each replica's event loop.", [Query("snakepit_tasks", "{{instance}}")]),
        Panel(
            "Wait for a processor",
            "How much of the time the event loop wants one and has none. With its processor's time near 100 % it is full.",
            [Query("rate(snakepit_event_loop_wait_seconds_total[$__rate_interval])", "{{instance}}")],
            unit="percentunit",
        ),
        Panel(
            "Lag of the event loop",
            "How much later than asked it turns. Above a tenth of a second, calls feel it.",
            [Query("snakepit_event_loop_lag_seconds", "{{instance}}")],
            unit="s",
        ),
    ],
)

OPERATOR = Row(
    "Operator",
    [
        Panel(
            "Leaders",
            "One of its pods leads. With 0 nobody sees to pools.",
            [Query(total("snakepit_operator_leader"), "leaders")],
            kind="stat",
            width=4,
            steps=((None, "red"), (1, "green"), (2, "red")),
        ),
        rates("Reconciles", "By outcome.", "snakepit_operator_reconciles_total", "outcome", width=7),
        Panel("Time of a reconcile", "Of one pool.", quantiles("snakepit_operator_reconcile_duration_seconds"), unit="s", width=7),
        Panel(
            "Pools that wait for one", "They are due to be looked at.", [Query(total("snakepit_operator_queue_depth"), "waiting")], width=6
        ),
        rates("Requests to the API server", "By verb and status.", "snakepit_operator_api_requests_total", "verb, code", unit="reqps"),
        slowest(
            "Time of such a request",
            "p99 by verb. Watches are left out: they last.",
            "snakepit_operator_api_request_duration_seconds",
            "verb",
        ),
        rates("What it did", "Pods that it decided to make or to delete.", "snakepit_operator_planned_actions_total", "action"),
        Panel(
            "Pools by condition",
            "So many have it.",
            [Query('count by (type) (max by (pool, type) (snakepit_pool_condition{status="True"}) == 1)', "{{type}}")],
        ),
        Panel(
            "Pods by state",
            "Capsules of all pools, as the operator sees them. One counts in several states.",
            [Query(f"sum by (state) ({seen('snakepit_pool_capsules', 'pool, state')})", "{{state}}")],
        ),
    ],
)

_REQUESTS = "http_server_request_duration_seconds"

GATEWAY = Row(
    "Gateway",
    [
        rates("HTTP requests", "By status.", _REQUESTS, "http_response_status_code", unit="reqps", form=observed),
        slowest("Time of a request", "p99 by route.", _REQUESTS, "http_route"),
        Panel(
            "Open",
            "Requests under way, and streams by kind.",
            [
                Query(total("http_server_active_requests"), "requests"),
                Query(total("snakepit_gateway_streams", "kind"), "{{kind}}"),
            ],
        ),
        Panel("Held bytes", "Of bodies and answers under way.", [Query(total("snakepit_gateway_held_bytes"), "held")], unit="bytes"),
        rates("MCP", "Requests by method.", "snakepit_gateway_mcp_requests_total", "method", unit="reqps"),
    ],
)

AGENTS = Row(
    "Agents",
    [
        Panel(
            "Links", "To replicas: as many as there are agents, times replicas.", [Query(total("snakepit_agent_links"), "links")], width=12
        ),
        Panel(
            "Inbox",
            "The longest one of each pool.",
            [Query("max by (pool) (snakepit_agent_inbox_depth)", "{{pool}}")],
            width=12,
        ),
    ],
)

DASHBOARD = Dashboard(
    uid="snakepit-components",
    title="Snakepit / Control plane and operator",
    text="Our own programs: control plane, operator, gateway and agents, and what they cost.",
    rows=[PROCESSES, CONTROL_PLANE, OPERATOR, GATEWAY, AGENTS],
)

"""What every component tells: its version, and its process as prometheus_client's ProcessCollector sees it. Pure."""

from __future__ import annotations

from snakepit._telemetry.metrics.row import COMPONENTS, Metric

BUILD_INFO = Metric("snakepit_build_info", "gauge", "1, with what runs here.", COMPONENTS, ("component", "version"))
CPU = Metric("process_cpu_seconds_total", "counter", "Processor time of the process, user and system.", COMPONENTS, unit="seconds")
RESIDENT = Metric("process_resident_memory_bytes", "gauge", "Memory of the process.", COMPONENTS, unit="bytes")
VIRTUAL = Metric("process_virtual_memory_bytes", "gauge", "Address space of the process.", COMPONENTS, unit="bytes")
START = Metric("process_start_time_seconds", "gauge", "When the process began, since the epoch.", COMPONENTS, unit="seconds")
OPEN_FDS = Metric("process_open_fds", "gauge", "File descriptors that are open.", COMPONENTS)
MAX_FDS = Metric("process_max_fds", "gauge", "File descriptors that may be open.", COMPONENTS)

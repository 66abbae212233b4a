"""Logs and traces of our own programs, and of clients where tracing is on. Private; traces need the extra `otel`."""

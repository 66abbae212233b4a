"""Logs and traces of our own programs, and of clients where tracing is on."""

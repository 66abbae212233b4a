"""Fuzzing: a target for each parser of bytes that somebody else has made, and seeds for each. `make fuzz` runs them for long."""

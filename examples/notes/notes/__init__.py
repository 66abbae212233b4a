"""Notes that a session keeps, and a report that takes its time."""

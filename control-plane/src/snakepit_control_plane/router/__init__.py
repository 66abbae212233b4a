"""Which worker runs which call, and when."""

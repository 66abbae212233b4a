"""A code interpreter for an agent: a Python that remembers, one for each session."""

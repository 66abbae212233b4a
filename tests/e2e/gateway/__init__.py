"""A package, so that what `conftest` makes for all of it is taken away with its last test, and not with the last of all."""

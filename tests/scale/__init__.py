"""How large it may be: `make scale`."""

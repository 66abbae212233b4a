"""An adapter whose module can't be imported."""

raise RuntimeError("this module is broken")

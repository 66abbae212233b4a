"""The way to the control plane: the links, what is said on them, and the streams beside them."""

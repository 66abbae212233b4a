"""The author's container: keeper (PID 1), zygote and workers."""

"""Pools and agents as they come and go.

`roster` knows which pools there are, `fleet` who is linked, `liveness` and `monitor` who is alive.
"""

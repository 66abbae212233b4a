"""What outlives a process: sessions, their state and bindings, pool settings, agents' leases. One interface, two stores."""

"""A long mixed load with faults, after which every call must be accounted for and nothing may be left over (`make soak`)."""

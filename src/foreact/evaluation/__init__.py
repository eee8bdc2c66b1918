"""Episodes in simulation: recorded from experts, run under policies, counted and shown."""

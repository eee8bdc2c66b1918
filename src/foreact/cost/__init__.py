"""What a policy costs: counted from its settings alone, and timed on this machine.

Counted before it is made: weights, operations, bytes and memory. Timed: milliseconds per stage of a chunk, next to the
least time that the counted operations can take here.
"""

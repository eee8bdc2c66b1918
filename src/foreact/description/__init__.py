"""What a policy costs, said before it is made: weights, operations, bytes and memory, from its settings alone."""

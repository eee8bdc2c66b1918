"""How networks are fitted: loops, losses, checkpoints."""

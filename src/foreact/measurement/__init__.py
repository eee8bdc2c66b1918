"""What a policy's chunks take on this machine: milliseconds per stage, beside the floor that arithmetic sets."""

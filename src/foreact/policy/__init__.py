"""The policy: what happens in which order, from camera frames to actions."""

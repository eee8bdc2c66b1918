"""Policies as files: saved, exported, published; fetched from the hub and sent there; loaded and placed in memory."""

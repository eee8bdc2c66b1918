"""Watching a policy and playing with it: episodes that are steered while they run, and the page that shows them."""

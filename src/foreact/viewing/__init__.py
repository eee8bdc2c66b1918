"""Policies to look at: an episode that one can play with, and the page in the browser that shows it."""

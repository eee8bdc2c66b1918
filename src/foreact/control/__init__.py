"""The robot's side, at its control rate. Knows neither the network nor torch."""

"""Flow matching, as pure mathematics: the path, its time, its solver, guidance. Knows no network."""

"""Studies: a question, answered by a grid of cells whose runs are cached, resumable and spread over processes."""

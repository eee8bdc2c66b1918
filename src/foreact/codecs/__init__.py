"""What pixels and words become before the transformer sees them: frozen encoders and their streams."""

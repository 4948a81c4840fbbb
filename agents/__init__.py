"""Who decides the embedding sizes. Knows arrays, not streams."""

"""The only code that touches the world: files, checkpoints, reports."""

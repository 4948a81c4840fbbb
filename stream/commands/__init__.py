"""The commands, one module each: they put the parts together, and nothing but ``stream.__main__`` imports them."""

"""The pure core.

In here: no I/O, no clock, no logging, no global random state. Same inputs and seed, same bytes out.
It imports only itself and ``stream.errors`` (a test enforces it).
"""

"""The figures of the README's results. ``python -m tests.benchmarks [NAME...]`` measures and prints them."""

"""Benchmarks: the engine beside baselines that anyone can start, in one run, as ratios."""

"""The sandbox: a small real payment provider for trying things out. Knows nothing of the engine."""

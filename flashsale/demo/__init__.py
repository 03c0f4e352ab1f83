"""The demo: one whole launch on this machine, its own load, and the proof that nothing was lost."""

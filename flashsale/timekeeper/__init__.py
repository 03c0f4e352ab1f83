"""The timekeeper: acts when time has passed, and finishes what a crash left half done."""

"""Load tests: locust users, profiles as tables, checks after the run, a report."""

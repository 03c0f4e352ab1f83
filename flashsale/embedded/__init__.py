"""Bundled servers: a real Valkey and a real Postgres for `demo`, `up` and the tests.

This package must never be needed in production, where both servers are given by URL.
"""

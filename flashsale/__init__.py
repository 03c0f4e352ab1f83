"""Flashsale: a flash-sale and pre-order engine."""

__version__ = "0.1.0"

"""Payments: money between buyers and merchants through a provider. Never decides on stock."""

"""Reservation: the Redis side. Only scripts change stock; only this package calls them."""

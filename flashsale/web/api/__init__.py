"""The calls of the API: each handler parses, calls a capability, renders; it decides nothing."""

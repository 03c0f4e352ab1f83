"""Who is calling: buyer tokens and merchant API keys. Never decides what a caller may buy."""

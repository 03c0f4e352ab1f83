"""Payment providers, one a module; each speaks to its own outside world and knows no order."""

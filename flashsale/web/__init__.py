"""Web: HTTP in, commands out. Parses, checks who calls, renders; keeps nothing that matters."""

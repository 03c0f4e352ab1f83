"""Web: HTTP in, commands out. It parses, checks who calls, renders; it keeps nothing that matters."""

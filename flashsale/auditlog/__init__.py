"""The audit log: who changed what in a merchant's name. It tells; it never decides or undoes."""

"""Fast forms of what the losses compute: see README.md here."""

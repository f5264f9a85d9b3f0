"""Which units go: every criterion, and how their scores become widths."""

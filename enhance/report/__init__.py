"""What was measured, as pages, pictures and tables to read."""

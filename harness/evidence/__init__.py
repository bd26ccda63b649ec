"""What a test leaves behind, and how people look at it."""

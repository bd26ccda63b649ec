"""A network of its own for each guest, and the fault proxy that its calls to services pass."""

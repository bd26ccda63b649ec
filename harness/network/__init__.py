"""Between the guest and its key servers: Tang itself, and the fault proxy that every connection to it passes."""

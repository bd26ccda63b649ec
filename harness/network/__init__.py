"""Between the guest and its key servers: Tang itself, and the gate that every connection to it passes."""

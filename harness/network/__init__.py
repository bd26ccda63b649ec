"""Between a guest and the services that it talks to: the fault proxy that every connection passes."""

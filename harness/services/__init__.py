"""What a guest talks to while it boots: each service has a life, a place on the guests' network, and a log."""

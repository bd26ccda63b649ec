"""What the user wrote: pins, thresholds, keyslots. Pure: no process, no machine, no network."""

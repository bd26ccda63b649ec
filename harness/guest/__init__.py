"""The guest's side of a boot: bytes become events, events an outcome (pure); a driver types, a shell looks around."""

"""The laboratory: what scenario authors hold in their hands (`sealed`, `attacker`, `faults`) and how it is made."""

"""The truth table: policies down, conditions across; each cell booted, and compared with what the oracle predicts."""

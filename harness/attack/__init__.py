"""What an attacker brings and takes: grants, his machines, and the proof of what he got out."""

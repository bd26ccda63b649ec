"""What an attacker brings and takes: grants, their machines, and the proof of what they got out."""

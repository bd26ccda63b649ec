"""What this host has, lacks, and must start."""

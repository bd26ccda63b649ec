"""A campaign: which scenarios run, in what order, on which worker, and how long that takes on this host."""

"""The truth table: policies down, conditions across; each cell booted, and compared with what the oracle predicts.

machines, rack         which policies each machine carries, and how many share one
conditions             the columns; `condition` is what one is, `actions` what is done in it
run, cells             its boots, and the table that they fill
table_rows             the rows as volumes, for `harness.explain`
verdicts               the list of what boots said, docs/truth-table.csv
truth_table            the columns as scenarios use them
command                ``unlock-lab matrix``, with `table`, `picture` and `junit` for what it shows
"""

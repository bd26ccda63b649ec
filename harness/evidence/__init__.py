"""What a test leaves behind, and how people look at it.

artifacts, record      the folder of a test, and the document in it
scrub                  secrets, taken out of both
attacks, pcrs          what attackers got; what each boot measured
attack_list            the list of what attackers got, docs/attacks.csv
csv_list               how such lists are read and written
terminal               what is shown at the end of a run
report, html           a page of a run
night, jobs            a page of a night, and what its jobs left
command                ``unlock-lab report``
"""

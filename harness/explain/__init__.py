"""What a policy will do and what an attacker gets, told from the rules in a second, with what real boots say of it.

`tree`, `shape`, `attackers`, `advice` and `answer` are pure; `command` reads the files and prints.
"""

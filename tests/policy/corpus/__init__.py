"""Files that owners write, and what the real Butane and Ignition make of each: two opinions beside our own.

files/         the documentation's examples and files from outside, rewritten
generated      one file for each key and rule, in the versions where they begin to count, and mixtures of them
opinions       runs the real commands (`make corpus`); opinions.json is what they said
"""

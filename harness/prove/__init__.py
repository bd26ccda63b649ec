"""The third level, the judge: what the rules say of a file is booted, in the fewest boots that tell the most.

Conditions under which the rules have every volume do the same, with the same pins failing, are one class, and one boot
stands for the class (`plan`). What is most in doubt comes first: where the guest's own tools did something else
(`harness.real_tools`), where recorded boots did, and what only a boot can tell. Then come attackers, of those that a
live system or a copied machine plays (`attacks`). What was booted is kept, so that a run goes on where it stopped.
"""

"""The laboratory: what scenario authors hold in their hands (`sealed`, `attacker`, `faults`) and how it is made.

laboratory           this host, prepared
policies             which policy a name means
install              a policy installed and proved once; `install_key` is what its place in the cache depends on
hardware             the machine that it is installed on
servers, places      the services of a policy, and where its guests find them
machines, sealed     the machines of a scenario, and one of them
request, powered     what a boot is to do; one that is judged
power, retry         the one power-on that all of these go through, and its second try
faults, owner        what is changed before a boot; what an owner's lines call in the guest
rescue               a system beside the disk
recorder             the evidence of one test
"""

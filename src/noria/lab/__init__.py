"""The benchmark lab: loads event loops over loopback, checks every byte, compares by pairs.

Its command is `noria lab`; docs/performance.md holds what it measured. It runs on Linux, needs rich
(`pip install noria[lab]`) and two CPUs to give numbers that mean anything: one for the server, one
for the load generator, which never sleeps while something is timed.
"""

"""What `noria lab files` measures: its rows, the work of each, and the subjects that do it.

A subject is whoever reads and writes: noria, the calls of `os`, another library, or fio. The loops
that count and time are the same for all subjects that are Python. fio counts by itself.
"""

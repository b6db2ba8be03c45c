"""Aggregations: what a line makes of the events of a period. One file each; `registry` names them.

A line's position at the end of an hour is the merge of everything in its hours up to then; the quantity of an hour is
the position after it less the position before it. So the hours always sum to the quantity of the period, in any order
of arrival. To add one: its name in `names`, its unit in `measures`, and a subclass of `Series` in `registry`.
"""

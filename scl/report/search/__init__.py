"""The pictures of a search, which two panels share.

objectives.py   what it optimised         history.py    the value of each trial in the order in which they ended
parameters.py   what it varied            parallel.py   the values of the parameters of each trial, side by side
front.py        what accuracy costs
"""

"""The figures of the page, each in two functions: a study's facts in, numbers out; numbers in, a figure out.

compare.py       arms: accuracy, differences, seeds, pairs       rows.py    rows of arms with intervals
training.py      learning curves, shares of the loss             lines.py   lines over levels with intervals
self_taught.py   response to the count of self-taught neurons    cloud.py   points of arms on two axes
factors.py       one factor against another, in lines
distilling.py    agreement, share of the gap closed, calibration
cost.py          accuracy against parameters, multiply-adds, latency
search.py        the course of a search, its winners, its front
importance.py    slices through the space of a search, fANOVA and PED-ANOVA

Numbers are dataclasses of arrays and frames, in the units of their axes. A drawn figure is the dict described in
theme.py; `scl.report.plotly_figure` makes a Plotly figure of it.
"""

"""Plots by matplotlib, as files. Nothing of pyplot: it keeps the figures that it makes, and one of them is everybody's current one."""

import io
from typing import Literal

import matplotlib
import pandas
from matplotlib.figure import Figure

Form = Literal["png", "svg"]

MOST = 30
"""Bars: more of them nobody reads."""

matplotlib.rcParams["text.parse_math"] = False  # a label with two $ is no formula
matplotlib.rcParams["svg.fonttype"] = "none"  # words of an SVG are words, not outlines


def bars(totals: pandas.Series, form: Form) -> bytes:
    """A picture of 640 by 480: a bar for each of the largest."""
    figure = Figure(figsize=(6.4, 4.8), dpi=100, layout="constrained")
    axes = figure.subplots()
    drawn = totals.nlargest(MOST)
    axes.bar([str(label) for label in drawn.index], drawn.to_numpy(), color="teal")
    axes.set(xlabel=str(totals.index.name), ylabel=str(totals.name))
    axes.tick_params(axis="x", rotation=90 if len(drawn) > 8 else 0)
    file = io.BytesIO()
    figure.savefig(file, format=form)
    return file.getvalue()

"""A data frame for each session: loaded from CSV, narrowed, summed up, plotted."""

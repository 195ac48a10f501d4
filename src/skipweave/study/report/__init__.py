"""The report of a study: conclusions, plots, tables, and one HTML file with its style and script."""

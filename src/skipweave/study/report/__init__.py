"""The report of a study: conclusions, plots, and one HTML file."""

"""Tables of labels: images anywhere, with their labels, splits and groups in a CSV or Parquet file."""

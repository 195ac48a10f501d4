"""Sources of classification datasets: class folders, tables of labels, torchvision, the Hub and Python."""

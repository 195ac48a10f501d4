"""What is learned: losses and metrics of classification and segmentation."""

"""Scores of generated images: torchmetrics Metrics and the feature extractors that they share."""

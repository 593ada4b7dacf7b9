"""The attention of a transformer: caught, stacked layer by layer, and run through once more."""

"""Models and data in, numbers and pictures out."""

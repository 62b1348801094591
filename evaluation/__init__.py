"""Models and data to figures: what the tests and benchmarks of the commands measure."""

"""What the benchmarks of SIDD and DND hand out and take."""

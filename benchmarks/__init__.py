"""mountd side by side with what people would use instead, and with the limits: `python -m benchmarks --help`."""

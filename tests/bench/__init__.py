"""Benchmarks: everything is measured against its reference in the same run, because timings are noisy."""

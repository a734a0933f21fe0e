"""Measures vimage beside what can be had without it.  See docs/performance.md."""

"""The only place that asks which backend runs."""

"""Primitives without I/O that every tier may use: clock, ids, model, settings, errors, tasks, metrics."""

"""The statistics of drift: distributions, distances, tests, and the budget of false alarms."""

"""The sources of references: a healthy period of the log, or the manifest of a version."""

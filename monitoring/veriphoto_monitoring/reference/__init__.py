"""Where references come from: a healthy period of the log, or the manifest of a version."""

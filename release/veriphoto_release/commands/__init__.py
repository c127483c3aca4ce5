"""The release commands: ``export``, ``models`` and ``calibrate``."""

"""The ``veriphoto`` command line that every part adds its commands to, and how settings become options."""

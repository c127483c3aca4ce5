"""The detectors, and what lies between them and a server. Their public names are in ``veriphoto_client``."""

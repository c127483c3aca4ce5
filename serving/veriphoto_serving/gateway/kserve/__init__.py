"""The KServe v2 protocol, with the extensions of Triton's that its HTTP client uses."""

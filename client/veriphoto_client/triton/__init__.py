"""The client of Triton: scoring over HTTP and gRPC, and administration. Only this package speaks Triton's protocols."""

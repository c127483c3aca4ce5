"""From a training run to a version that Triton serves: the graph, its parity with the network, and publishing."""

"""From a checkpoint to the files of a version: the graph, its parity with the network, and its variants."""

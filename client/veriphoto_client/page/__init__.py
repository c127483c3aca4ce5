"""The web page: a person drops photos and sees verdicts and why. Speaks HTTP to the gateway and to nothing else."""

"""What makes up an answer: the score, the explanation, the provenance, and the challenger in the shadow."""

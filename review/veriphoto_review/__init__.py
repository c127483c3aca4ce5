"""After the verdict: cases that people decide, what their decisions tell, and the way back into the model."""

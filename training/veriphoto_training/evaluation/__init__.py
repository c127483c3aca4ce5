"""How good a model is on pictures it has not seen, as figures, plots and a page."""

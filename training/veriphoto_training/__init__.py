"""Training: recipes, data, the alignment chain, the loop, evaluation and calibration (torch, timm, mlflow)."""

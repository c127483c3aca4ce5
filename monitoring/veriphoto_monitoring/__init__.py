"""Drift monitoring: detects when pictures or scores move away from what the model was measured on."""

"""Evaluation of reward models: metrics, plots, report, model card."""

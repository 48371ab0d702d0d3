"""Evaluation beyond one number: robustness, attribution, significance, the HTML report."""

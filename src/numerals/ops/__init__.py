"""Fused training kernels and the layers that use them."""

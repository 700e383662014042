"""Pretrained backbones and attention over prompt trees."""

"""A parametric thorax, its X-ray projection and its studies: ground truth that no hospital has."""

"""Sampling: the cxr-sample command, its plans and writers; imported as gen.sample."""

"""What judges an image: the shipped reader, the lung segmenter, the search for neighbours; for gates and evaluation."""

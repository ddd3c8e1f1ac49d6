"""Training jobs, run as scripts by accelerate launch; in a wheel they are gen.train."""

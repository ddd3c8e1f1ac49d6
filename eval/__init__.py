"""Evaluation: fidelity, alignment, utility, privacy and fairness; imported as gen.eval."""

"""What people choose from by name, for command lines and calls alike. Imports nothing heavy."""

from typing import Literal

Attention = Literal["sdpa", "xformers"]
Compile = Literal["off", "default", "reduce-overhead"]

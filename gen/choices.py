"""What people choose from by name, said once: in configs, on command lines and in calls. Imports nothing heavy."""

from typing import Literal

Attention = Literal["sdpa", "xformers"]
Compile = Literal["off", "default", "reduce-overhead"]

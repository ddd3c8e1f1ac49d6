"""The recipes; in a wheel and to importlib.resources they are gen.configs."""

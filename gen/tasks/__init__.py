"""Tasks: how a batch becomes a condition, the one thing in which the tasks differ.

A task is an `nn.Module` with
- `columns`: the batch keys it reads besides the target's moments,
- `spatial_channels(latent_channels)`: channels concatenated to the noisy latent,
- `forward(batch) -> Condition`: used unchanged by training and by sampling.

To add one: a file here, a line in `TASKS`, its name in `gen.schema.TaskConfig`, a YAML, a row in tests/tasks.
"""

from gen.tasks.text import TextTask

TASKS = {"text": TextTask}

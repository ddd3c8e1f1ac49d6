"""Tasks: how a batch becomes a condition, the one thing in which the tasks differ.

A task is an `nn.Module` made of a text encoder and its own `conditioner` (None, or a module of gen.models that is saved
beside the denoiser), with
- `needs`: what it reads of an index row besides the prompt (gen.data.linked.Needs),
- `control`: batch keys that the validation exchanges between samples, to see whether the model heeds them,
- `rows(rows, config)`: the index rows that it can use, with the columns it needs added,
- `settled(config, columns)`: its settings, completed by what the training rows say,
- `new_conditioner(config, latent_shape, width)`: the conditioner of a model to be trained, or None,
- `drawn(z0, batch)`: what the denoiser draws, from the latents of the image to be drawn; `finished` is its inverse,
- `spatial_channels(latent_channels)`: channels concatenated to the noisy latent,
- `first_answer(batch)`: what is known of the image before drawing begins, or None,
- `forward(batch) -> Condition`: used unchanged by training and by sampling; linked images come as latents.

To add one: a file here, a line in `TASKS`, its settings in gen.schema.tasks, a YAML, a row in tests/tasks.
"""

from gen.tasks.bone import BoneTask
from gen.tasks.inpaint import InpaintTask
from gen.tasks.temporal import TemporalTask
from gen.tasks.text import TextTask
from gen.tasks.view import ViewTask

TASKS = {
    "text": TextTask,
    "view": ViewTask,
    "temporal": TemporalTask,
    "bone": BoneTask,
    "inpaint": InpaintTask,
}

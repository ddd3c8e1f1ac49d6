"""What people call on a pipeline: from friendly arguments to the batch of a task. One file a task."""

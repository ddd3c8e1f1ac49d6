"""A row of any hospital's data becomes a batch."""

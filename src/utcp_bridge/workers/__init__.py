"""Worker processes: work on foreign data that takes long or much, where it can be ended."""

"""Features made elsewhere: files of other tools, what lies in them, whose it is, and how it becomes a stream."""

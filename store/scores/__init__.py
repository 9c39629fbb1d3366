"""Scores on disk: one sealed file a run and split, and other tools' files read into it."""

"""Scores on disk: one sealed file a run and split, other tools' files read into it, and tables written from it."""

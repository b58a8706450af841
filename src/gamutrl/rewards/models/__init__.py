"""Reward models of pictures, by hub id or local folder: what people are thought to like, and what is in a picture."""

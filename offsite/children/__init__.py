"""Processes in which the files of others are opened, and which can be killed."""

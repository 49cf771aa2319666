"""Recordings of sequences: the file format, the values in it, what writes it and what compares it.

A bundle is one sequence of one model version: its configuration, each step that was asked for, each
response, and how it ended. It knows no engine and no wire, and reading one runs nothing of it.
"""

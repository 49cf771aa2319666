"""The python backend."""

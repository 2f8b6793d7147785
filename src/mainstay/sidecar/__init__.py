"""The process beside the application: Python decides, the engine carries the bytes. See `main`."""

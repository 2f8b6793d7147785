"""The server's half of xDS: one machine a stream, and the ring that gives streams their turns. See `stream`, `schedule`."""

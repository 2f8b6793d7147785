"""What our own programs tell of themselves: log, metrics. Traffic is the engine's to tell."""

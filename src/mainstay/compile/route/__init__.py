"""Routes: rules of the model as RouteConfigurations (HTTP) and weighted clusters (TCP)."""

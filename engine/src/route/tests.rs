//! Decision tables of routes.

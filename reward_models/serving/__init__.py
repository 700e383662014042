"""The HTTP server of reward models: continuous batching over all clients, limits, and protocols of RL libraries."""

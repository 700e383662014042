"""Plans of reinforcement-learning runs: memory, tokens, time and cost before anything is started."""

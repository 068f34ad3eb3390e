"""A long run: hosts of every kind are killed, frozen and restarted under a training loop. `make soak`."""

"""The embedded peer: what `holdfast serve` runs. `server.Node` is its front door."""

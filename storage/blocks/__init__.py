"""Where verified bytes live on this machine."""

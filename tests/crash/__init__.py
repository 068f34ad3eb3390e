"""Kill -9 at random moments: `make crash`, and a few kills in the test suite."""

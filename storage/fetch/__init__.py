"""The multi-source engine: `planner` and `scoreboard` decide and are pure, `engine` does the IO."""

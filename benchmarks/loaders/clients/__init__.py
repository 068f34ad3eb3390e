"""One module a loader: `batches(job)` yields batches of the common collate. Each is run by its own interpreter."""

"""Where bytes come from. Sources return unverified bytes; the engine hashes them."""

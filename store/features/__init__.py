"""Features on disk: a store's folder of sealed shards, or one packed file."""

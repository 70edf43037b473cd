"""Training in batch: from the archive to a release, or to the reasons why not."""

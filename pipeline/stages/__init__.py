"""The stages of a job, one per file. No stage imports another."""

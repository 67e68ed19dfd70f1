"""The stages of a job, one verb per file. No stage knows another."""

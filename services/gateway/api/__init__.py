"""The management API: models, rollouts, jobs, searches, triggers, feedback, keys, health."""

"""The stages of one training job: plain functions, one verb per file. No Celery, Flask, Redis or SQL."""

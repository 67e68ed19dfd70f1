"""What is known of jobs beside their state: curves, recipes, and how several differ."""

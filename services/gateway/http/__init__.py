"""What every view stands on: errors, headers, bodies, deadlines, waiting."""

"""What every view stands on: errors, headers, bodies, paths, deadlines, greenlets."""

"""Actions of reviewers and admins, and background jobs."""

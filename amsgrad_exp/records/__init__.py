"""Records runs on disk, and resumes, reads and verifies them."""

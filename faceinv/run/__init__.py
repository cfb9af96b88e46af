"""Runs over many photos: jobs, their files, the processes that work on them."""

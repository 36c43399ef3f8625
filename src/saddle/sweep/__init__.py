"""Many runs: the jobs of a sweep, where they run, and a search that chooses them. Free of torch."""

"""What a command line means: composed, checked and resolved. Free of torch; it knows of saddle only the errors."""

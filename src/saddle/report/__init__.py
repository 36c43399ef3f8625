"""What a sweep says about its settings, as one HTML page. Free of torch: it reads the files of run folders only."""

"""What a run costs, in time and memory, as data sets grow."""

"""Files of public archives: listed, loaded in parallel ranges, resumed, checked."""

"""The command line: one verb per rule of the workflow; heavy imports wait inside the verbs."""

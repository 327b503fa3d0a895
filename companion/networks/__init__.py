"""Networks of notebooks 05 and 06: their tasks, and many of them trained as one."""
